"""An interlaced PNG whose pixels are incomplete, completed by zeros: libpng would return none of them."""

from __future__ import annotations

import os
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
_LAST_FILTER = 4


def completed(descriptor: int) -> bytes | None:
    """Return an interlaced file with all pixels, zeros for those that can't be decoded; None for any other file."""
    head = os.pread(descriptor, _HEADER_END, 0)
    if len(head) < _HEADER_END or head[:8] != _SIGNATURE:
        return None
    width, height, depth, color, interlaced = struct.unpack_from(">IIBB2xB", head, 16)
    if interlaced != 1 or color not in _CHANNELS:
        return None
    kept, coded = _chunks(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
    rows = list(_row_lengths(width, height, depth * _CHANNELS[color]))
    raw = _inflated(coded, sum(rows))
    position = 0
    for length in rows:
        if raw[position] > _LAST_FILTER:  # behind the damage
            raw[position] = 0
        position += length
    return b"".join((_SIGNATURE, kept, _chunk(b"IDAT", zlib.compress(raw, 1)), _chunk(b"IEND", b"")))


def _row_lengths(width: int, height: int, bits: int) -> Iterator[int]:
    """Yield the bytes of each row of each pass, with its filter, before compression."""
    for left, top, across, down in _ADAM7:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            yield from (1 + -(-columns * bits // 8) for _ in range(rows))


def _chunks(data: bytes) -> tuple[bytes, bytes]:
    """Return the chunks before the pixels as they are, and the coded pixels, however far they go."""
    kept, coded, position = b"", b"", len(_SIGNATURE)
    while position + 8 <= len(data):
        (length,), kind = struct.unpack_from(">I", data, position), data[position + 4 : position + 8]
        end = position + 12 + length
        if kind == b"IDAT":
            coded += data[position + 8 : min(end - 4, len(data))]
        elif not coded and end <= len(data):
            kept += data[position:end]
        position = end
    return kept, coded


def _inflated(coded: bytes, size: int) -> bytearray:
    """Decompress as far as the data are sound, and add zeros up to the size."""
    inflate, made = zlib.decompressobj(), bytearray()
    with suppress(zlib.error):
        for start in range(0, len(coded), _PIECE):
            made += inflate.decompress(coded[start : start + _PIECE], size)
    return made[:size].ljust(size, b"\0")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
