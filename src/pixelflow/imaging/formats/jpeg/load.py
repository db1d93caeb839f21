"""Decodes JPEG."""

from __future__ import annotations

import pyvips

from pixelflow.imaging import decoder_warnings
from pixelflow.imaging.formats.jpeg.blocks import complete_blocks, with_whole_blocks
from pixelflow.imaging.formats.jpeg.markers import has_end, repaired
from pixelflow.imaging.loading import Content, LoadOptions, load_stream

LOADERS = ("VipsForeignLoadJpegSource", "VipsForeignLoadUhdrSource")
"""The second one reads gain maps, and decodes no pixels."""


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
