"""Decodes WebP."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.formats.webp.chunks import completed, is_zero_filled
from pixelflow.imaging.loading import LoadOptions, load_stream

LOADERS = ("VipsForeignLoadWebpSource",)


def load(descriptor: int, options: LoadOptions) -> pyvips.Image:
    """Decode as a stream."""
    if not options.tolerant and is_zero_filled(descriptor):
        raise pyvips.Error("zeros in place of pixels")
    content = completed(descriptor, tolerant=options.tolerant)
    scale = {"scale": 1 / options.shrink} if options.shrink > 1 else {}
    return load_stream(
        "webpload_source",
        descriptor,
        content,
        fail_on=options.fail_on,
        page=options.first,
        n=options.frames,
        **scale,
    )
