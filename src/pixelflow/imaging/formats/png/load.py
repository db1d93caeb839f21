"""Decodes PNG."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.colour.source import with_color_of_png
from pixelflow.imaging.loading import LoadOptions, load_stream

LOADERS = ("VipsForeignLoadPngSource",)


def load(descriptor: int, _options: LoadOptions) -> pyvips.Image:
    """Decode as a stream."""
    return with_color_of_png(load_stream("pngload_source", descriptor), descriptor)
