"""Decodes JPEG."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.loading import LoadOptions, load_stream

LOADERS = ("VipsForeignLoadJpegSource",)


def load(descriptor: int, options: LoadOptions) -> pyvips.Image:
    """Decode as a stream."""
    return load_stream("jpegload_source", descriptor, shrink=options.shrink)
