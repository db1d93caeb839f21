"""Decodes PNG."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.loading import LoadOptions, load_stream

LOADERS = ("VipsForeignLoadPngSource",)


def load(descriptor: int, _options: LoadOptions) -> pyvips.Image:
    """Decode as a stream."""
    return load_stream("pngload_source", descriptor)
