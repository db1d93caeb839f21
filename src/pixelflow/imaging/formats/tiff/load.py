"""Decodes one page of a TIFF, by libtiff in libvips."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.loading import LoadOptions, load_stream

LOADERS = ("VipsForeignLoadTiffSource",)


def load(descriptor: int, options: LoadOptions) -> pyvips.Image:
    """Decode as a stream."""
    return load_stream("tiffload_source", descriptor, fail_on=options.fail_on, page=options.first)
