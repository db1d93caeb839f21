"""Decodes WebP."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.loading import LoadOptions, load_stream

LOADERS = ("VipsForeignLoadWebpSource",)


def load(descriptor: int, options: LoadOptions) -> pyvips.Image:
    """Decode as a stream."""
    scale = {"scale": 1 / options.shrink} if options.shrink > 1 else {}
    return load_stream("webpload_source", descriptor, page=options.first, n=options.frames, **scale)
