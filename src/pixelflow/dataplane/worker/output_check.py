"""Looks at what a child made: it must be what its format says, with the size that the child reported.

Reads signatures, box and chunk headers only; the worker must never decode an image.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from pixelflow.imaging.pipeline import Format

HEAD_BYTES = 4096
"""Outputs have no metadata, so their headers are within these bytes."""
TAIL_BYTES = 16

_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


class Ends(NamedTuple):
    """The first and last bytes of an output, and its size in bytes."""

    head: bytes
    tail: bytes
    size: int


def size_in_pixels(format_: Format, ends: Ends) -> tuple[int, int]:
    """Return width and height as the output's header has them.

    Raises:
        ValueError: it is not a complete file of the format.
    """
    try:
        return _READERS[format_](ends)
    except (struct.error, IndexError) as error:
        raise ValueError("the header is not complete") from error


def _jpeg(ends: Ends) -> tuple[int, int]:
    _require(ends.head[:2] == b"\xff\xd8" and ends.tail[-2:] == b"\xff\xd9")
    position = 2
    while True:
        _require(ends.head[position] == 0xFF)  # noqa: PLR2004  # a marker
        marker, length = struct.unpack_from(">BH", ends.head, position + 1)
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", ends.head, position + 5)
            return width, height
        position += 2 + length


def _png(ends: Ends) -> tuple[int, int]:
    _require(ends.head[:8] == b"\x89PNG\r\n\x1a\n" and ends.head[12:16] == b"IHDR")
    _require(ends.tail[-8:-4] == b"IEND")
    width, height = struct.unpack_from(">II", ends.head, 16)
    return width, height


def _webp(ends: Ends) -> tuple[int, int]:
    riff, length, webp, chunk = struct.unpack_from("<4sI4s4s", ends.head)
    _require(riff == b"RIFF" and webp == b"WEBP" and ends.size == length + 8)
    if chunk == b"VP8X":
        width, height = (int.from_bytes(ends.head[at : at + 3], "little") + 1 for at in (24, 27))
    elif chunk == b"VP8L":
        bits = int.from_bytes(ends.head[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        _require(chunk == b"VP8 " and ends.head[23:26] == b"\x9d\x01\x2a")
        width, height = (each & 0x3FFF for each in struct.unpack_from("<HH", ends.head, 26))
    return width, height


def _avif(ends: Ends) -> tuple[int, int]:
    _require(ends.head[4:8] == b"ftyp" and ends.head[8:12] == b"avif")
    at = ends.head.find(b"ispe")
    _require(at >= 0)
    width, height = struct.unpack_from(">II", ends.head, at + 8)
    return width, height


_READERS: dict[Format, Callable[[Ends], tuple[int, int]]] = {
    Format.JPEG: _jpeg,
    Format.PNG: _png,
    Format.WEBP: _webp,
    Format.AVIF: _avif,
}


def _require(condition: bool) -> None:
    if not condition:
        raise ValueError("not a complete file of its format")
