"""Decodes JPEG XL, by libjxl. Of an animation, the first frame."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.decoded import Pixels, map_file, to_image
from pixelflow.imaging.errors import map_decode_errors
from pixelflow.imaging.formats.jxl import libjxl
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.header import Header
from pixelflow.imaging.loading import LoadOptions


def header(descriptor: int, _options: LoadOptions) -> Header:
    """Read the header."""
    with map_decode_errors("JPEG XL"), map_file(descriptor) as data:
        info = libjxl.read_info(bytes(data))
    size, wide = Size(info.width, info.height), info.bits > 8  # noqa: PLR2004  # bits
    return Header(size, frames=1, bytes_per_pixel=info.bands * info.bits // 8, wide=wide, whole=True, turned=False)


def load(descriptor: int, _options: LoadOptions) -> pyvips.Image:
    """Decode the first frame, upright."""
    with map_decode_errors("JPEG XL"), map_file(descriptor) as data:
        info, pixels, profile = libjxl.decode(bytes(data))
        return to_image(Pixels(pixels, *info), profile=profile)
