"""Decodes GIF, by libnsgif in libvips."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.loading import LoadOptions, load_stream

LOADERS = ("VipsForeignLoadNsgifSource",)


def load(descriptor: int, options: LoadOptions) -> pyvips.Image:
    """Decode as a stream. A frame is made of those before it, which are decoded too."""
    return load_stream("gifload_source", descriptor, fail_on=options.fail_on, page=options.first, n=options.frames)
