"""Decodes GIF, by libnsgif in libvips."""

from __future__ import annotations

import os

import pyvips

from pixelflow.imaging.loading import LoadOptions, load_stream
from pixelflow.imaging.tail import end_without_zeros

LOADERS = ("VipsForeignLoadNsgifSource",)
_TRAILER = b";"
_MAX_ZEROS = 256
"""At the end of a file: bytes behind the trailer are common, zeros without one are an interrupted download."""


def load(descriptor: int, options: LoadOptions) -> pyvips.Image:
    """Decode as a stream. A frame is made of those before it, which are decoded too."""
    if not options.tolerant and _is_zero_filled(descriptor):
        raise pyvips.Error("zeros in place of pixels")
    return load_stream("gifload_source", descriptor, fail_on=options.fail_on, page=options.first, n=options.frames)


def _is_zero_filled(descriptor: int) -> bool:
    """Whether zeros follow without the trailer: libnsgif takes one for the end of the pixels, wherever it is."""
    end = end_without_zeros(descriptor)
    return os.fstat(descriptor).st_size - end >= _MAX_ZEROS and os.pread(descriptor, 1, max(0, end - 1)) != _TRAILER
