"""Decodes JPEG."""

from __future__ import annotations

import re

import pyvips

from pixelflow.imaging import decoder_warnings
from pixelflow.imaging.formats.jpeg.blocks import complete_blocks, with_whole_blocks
from pixelflow.imaging.formats.jpeg.markers import has_end, repaired, segments
from pixelflow.imaging.loading import Content, LoadOptions, load_stream

LOADERS = ("VipsForeignLoadJpegSource", "VipsForeignLoadUhdrSource")
"""The second one reads gain maps, and decodes no pixels."""
_GAIN_MAP = re.compile(
    rb"http://ns\.adobe\.com/xap/1\.0/\0.*Semantic\s*(?:=\s*[\"']|>\s*)GainMap|urn:iso:std:iso:ts:21496:-1\0.{4}\Z",
    re.DOTALL,
)
"""A segment of a picture that has a gain map: the directory of Ultra HDR 1.0 in XMP, or the version of ISO 21496-1.

The segment of ISO 21496-1 in the gain map itself is longer."""


def has_gain_map(descriptor: int) -> bool:
    """Whether the picture says that a gain map follows, even if that is damaged or missing."""
    return any(_GAIN_MAP.match(payload) for payload in segments(descriptor))


def load(descriptor: int, options: LoadOptions) -> pyvips.Image:
    """Decode as a stream.

    libvips would refuse a file without an end marker and accept one without pixels. So damage is no error here:
    warnings report it, of which only the first is collected. A file whose header causes some is repaired before.
    """
    decoder_warnings.damage_collected()  # by now, possibly of another file
    decoder_warnings.discard()
    if has_end(descriptor):
        image = _load(descriptor, with_whole_blocks(descriptor) if options.shrink > 1 else None, options)
        if not decoder_warnings.any_collected():
            return image
        decoder_warnings.discard()
    content = repaired(descriptor)
    if content is not None and options.shrink > 1:
        complete_blocks(content)
    return _load(descriptor, content, options)


def _load(descriptor: int, content: Content | None, options: LoadOptions) -> pyvips.Image:
    return load_stream("jpegload_source", descriptor, content, fail_on="none", shrink=options.shrink)
