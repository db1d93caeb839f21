"""Decodes AVIF."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.colour.source import with_color_of_heif
from pixelflow.imaging.loading import LoadOptions, load_stream

LOADERS = ("VipsForeignLoadHeifSource",)


def load(descriptor: int, _options: LoadOptions) -> pyvips.Image:
    """Decode as a stream."""
    return with_color_of_heif(load_stream("heifload_source", descriptor), descriptor)
