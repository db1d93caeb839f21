"""An interlaced PNG whose pixels are incomplete, completed by zeros: libpng would return none of them."""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Offsets and steps of each pass (PNG, third edition, 8.2)."""
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""By color type."""
_HEADER_END = 33
_PIECE = 1 << 16
_MAX_CHUNKS = 1 << 16
"""Chunks that are read."""
_VALID_FILTERS = bytes(each if each <= 4 else 0 for each in range(256))  # noqa: PLR2004  # the last filter
"""For ``translate``: filters as they are, and no filter for any other byte."""


def completed(data: mmap.mmap | bytes, *, pixels: bool = True) -> bytes | None:
    """Return an interlaced file with all pixels, zeros for those that can't be decoded; None for any other file.

    Args:
        data: the file.
        pixels: False for a file of which only the header can be read. Then the size of the picture may be any: the time
            and the memory don't depend on it.
    """
    head = data[:_HEADER_END]
    if len(head) < _HEADER_END or head[:8] != _SIGNATURE:
        return None
    width, height, depth, color, interlaced = struct.unpack_from(">IIBB2xB", head, 16)
    if interlaced != 1 or color not in _CHANNELS:
        return None
    kept, coded = _chunks(data)
    raw = _pixels(coded, list(_passes(width, height, depth * _CHANNELS[color]))) if pixels else b""
    return b"".join((_SIGNATURE, *kept, _chunk(b"IDAT", zlib.compress(raw, 1)), _chunk(b"IEND", b"")))


def _passes(width: int, height: int, bits: int) -> Iterator[tuple[int, int]]:
    """Yield the number of rows of each pass, and the bytes of a row with its filter, before compression."""
    for left, top, across, down in _ADAM7:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            yield rows, 1 + -(-columns * bits // 8)


def _chunks(data: mmap.mmap | bytes) -> tuple[list[bytes], list[bytes]]:
    """Return the chunks before the pixels as they are, and the coded pixels, however far they go."""
    kept: list[bytes] = []
    coded: list[bytes] = []
    position = len(_SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(data):
            break
        (length,), kind = struct.unpack_from(">I", data, position), data[position + 4 : position + 8]
        end = position + 12 + length
        if kind == b"IDAT":
            coded.append(data[position + 8 : min(end - 4, len(data))])
        elif not coded and end <= len(data):
            kept.append(data[position:end])
        position = end
    return kept, coded


def _pixels(coded: list[bytes], passes: list[tuple[int, int]]) -> bytearray:
    """Decompress the rows, and give those behind the damage a valid filter."""
    raw = _inflated(coded, sum(rows * length for rows, length in passes))
    position = 0
    for rows, length in passes:
        place = slice(position, position + rows * length, length)
        raw[place] = raw[place].translate(_VALID_FILTERS)
        position = place.stop
    return raw


def _inflated(coded: list[bytes], size: int) -> bytearray:
    """Decompress as far as the data are sound, up to the size, and add zeros up to the size."""
    inflate, made = zlib.decompressobj(), bytearray()
    with suppress(zlib.error):
        for part in coded:
            for start in range(0, len(part), _PIECE):
                if len(made) == size:
                    return made
                made += inflate.decompress(part[start : start + _PIECE], size - len(made))
    return made.ljust(size, b"\0")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
