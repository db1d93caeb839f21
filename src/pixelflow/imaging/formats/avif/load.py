"""Decodes AVIF."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.loading import LoadOptions, load_stream

LOADERS = ("VipsForeignLoadHeifSource",)


def load(descriptor: int, _options: LoadOptions) -> pyvips.Image:
    """Decode as a stream."""
    return load_stream("heifload_source", descriptor)
