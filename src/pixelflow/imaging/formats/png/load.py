"""Decodes PNG."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.colour.source import with_color_of_png
from pixelflow.imaging.loading import LoadOptions, load_stream

LOADERS = ("VipsForeignLoadPngSource",)


def load(descriptor: int, options: LoadOptions) -> pyvips.Image:
    """Decode as a stream."""
    image = load_stream("pngload_source", descriptor, fail_on=options.fail_on)
    return with_color_of_png(image, descriptor)
