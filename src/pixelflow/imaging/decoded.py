"""Decoders other than libvips: their input, their pixels as an image of libvips, and their errors.

Such a decoder makes all pixels at once, so it must never be called before the limits have been checked.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pyvips

from pixelflow.errors import JobError, OutOfMemoryError, UndecodableError
from pixelflow.imaging.colour.convert import PROFILE
from pixelflow.imaging.errors import is_out_of_memory

# What Pillow, pi-heif, pypdfium2, rawpy and struct raise for a damaged file.
_DAMAGE = (
    OSError, ValueError, RuntimeError, SyntaxError, EOFError, LookupError, TypeError, ArithmeticError, AttributeError,
    AssertionError, struct.error, zlib.error, pyvips.Error,
)  # fmt: skip


class Pixels(NamedTuple):
    """Pixels of a decoder, row by row without gaps."""

    data: bytes | bytearray | memoryview
    width: int
    height: int
    bands: int
    bits: int = 8
    """Per channel: 8 or 16, in the byte order of the machine."""


def map_file(descriptor: int) -> mmap.mmap:
    """Map the file, read-only. It takes address space, but memory only for the parts that are read."""
    return mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)


def to_image(pixels: Pixels, *, profile: bytes | None = None, orientation: int = 1) -> pyvips.Image:
    """Wrap pixels without copying them; the image keeps them alive.

    Args:
        pixels: one or two bands are gray, three or four RGB; an even number ends with straight alpha.
        profile: the ICC profile of the pixels; without one they are sRGB.
        orientation: EXIF orientation that is still to be applied.
    """
    form = "uchar" if pixels.bits == 8 else "ushort"  # noqa: PLR2004  # bits
    image = pyvips.Image.new_from_memory(pixels.data, pixels.width, pixels.height, pixels.bands, form)
    image = image.copy(interpretation=_interpretation(pixels))
    if profile:
        image.set_type(pyvips.GValue.blob_type, PROFILE, profile)
    if orientation != 1:
        image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    return image


def _interpretation(pixels: Pixels) -> str:
    gray = pixels.bands <= 2  # noqa: PLR2004  # gray and alpha
    if pixels.bits == 8:  # noqa: PLR2004  # bits
        return "b-w" if gray else "srgb"
    return "grey16" if gray else "rgb16"


@contextmanager
def decoding(label: str, *more: type[Exception]) -> Iterator[None]:
    """Attribute every error in the context to the source.

    Args:
        label: name of the format in messages.
        more: further errors by which the decoder reports damage.

    Raises:
        UndecodableError: the file is damaged or truncated.
        OutOfMemoryError: decoding ran out of memory.
    """
    try:
        yield
    except JobError:
        raise
    except (MemoryError, *_DAMAGE, *more) as error:
        if is_out_of_memory(error):
            raise OutOfMemoryError("The transform needed more memory than allowed") from error
        raise UndecodableError(f"The {label} data is damaged or truncated") from error
