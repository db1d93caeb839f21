"""Decodes JPEG."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.formats.jpeg.blocks import with_whole_blocks
from pixelflow.imaging.loading import LoadOptions, load_stream

LOADERS = ("VipsForeignLoadJpegSource",)


def load(descriptor: int, options: LoadOptions) -> pyvips.Image:
    """Decode as a stream."""
    completed = with_whole_blocks(descriptor) if options.shrink > 1 else None
    if completed is None:
        return load_stream("jpegload_source", descriptor, shrink=options.shrink)
    source = pyvips.Source.new_from_memory(completed)
    # Unlike `jpegload_source`, it keeps the memory alive as long as the image.
    return pyvips.Image.new_from_source(source, "", access="sequential", fail_on="error", shrink=options.shrink)
