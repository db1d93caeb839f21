"""Decoders other than libvips: their input, and their pixels as an image of libvips.

Such a decoder makes all pixels at once, so it must never be called before the limits have been checked.
"""

from __future__ import annotations

import mmap
from typing import NamedTuple

import pyvips

from pixelflow.imaging.colour.convert import PROFILE


class Pixels(NamedTuple):
    """Pixels of a decoder, row by row."""

    data: bytes | bytearray | memoryview
    width: int
    height: int
    bands: int
    bits: int = 8
    """Per channel: 8 or 16, in the byte order of the machine."""
    stride: int | None = None
    """Bytes from the start of a row to that of the next. None: rows have no gaps."""


def map_file(descriptor: int) -> mmap.mmap:
    """Map the file, read-only. It takes address space, but memory only for the parts that are read."""
    return mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)


def to_image(pixels: Pixels, *, profile: bytes | None = None, orientation: int = 1) -> pyvips.Image:
    """Wrap pixels without copying them, unless there are gaps; the image keeps them alive.

    Args:
        pixels: one or two bands are gray, three or four RGB; an even number ends with straight alpha.
        profile: the ICC profile of the pixels; without one they are sRGB.
        orientation: EXIF orientation that is still to be applied.
    """
    image = _wrapped(pixels).copy(interpretation=_interpretation(pixels))
    if profile:
        image.set_type(pyvips.GValue.blob_type, PROFILE, profile)
    if orientation != 1:
        image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    return image


def _wrapped(pixels: Pixels) -> pyvips.Image:
    form, size = ("uchar", 1) if pixels.bits == 8 else ("ushort", 2)  # noqa: PLR2004  # bits
    samples = pixels.width * pixels.bands
    if pixels.stride in {None, samples * size}:
        return pyvips.Image.new_from_memory(pixels.data, pixels.width, pixels.height, pixels.bands, form)
    rows = pyvips.Image.new_from_memory(pixels.data, pixels.stride // size, pixels.height, 1, form)
    return rows.crop(0, 0, samples, pixels.height).bandfold(factor=pixels.bands)


def _interpretation(pixels: Pixels) -> str:
    gray = pixels.bands <= 2  # noqa: PLR2004  # gray and alpha
    if pixels.bits == 8:  # noqa: PLR2004  # bits
        return "b-w" if gray else "srgb"
    return "grey16" if gray else "rgb16"
