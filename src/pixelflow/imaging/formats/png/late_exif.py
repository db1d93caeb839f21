"""EXIF behind the pixels of a PNG (third edition, 11.3.4.6), where libvips does not look for it."""

from __future__ import annotations

import os
import struct
import zlib

_TAIL_BYTES = 1 << 16
"""At the end of the file. EXIF without a thumbnail has a few kilobytes."""
_NAME = b"eXIf"
_ORIENTATION = 0x0112
_SHORT, _LONG = 3, 4
_LAST = 8


def late_orientation(descriptor: int) -> int | None:
    """Return the EXIF orientation, 1 to 8, or ``None`` if there is none behind the pixels."""
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
    position = tail.find(_NAME)
    while position >= 4:  # noqa: PLR2004 - the length before the name
        end = position + 4 + int.from_bytes(tail[position - 4 : position], "big")
        if tail[end : end + 4] == zlib.crc32(tail[position:end]).to_bytes(4, "big"):
            return orientation_of(tail[position + 4 : end])
        position = tail.find(_NAME, position + 1)
    return None


def orientation_of(exif: bytes) -> int | None:
    """Return the orientation in a TIFF structure, or ``None`` if it has none or is damaged."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return None
    try:
        (directory,) = struct.unpack_from(f"{order}I", exif, 4)
        (entries,) = struct.unpack_from(f"{order}H", exif, directory)
        for place in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, kind = struct.unpack_from(f"{order}HH", exif, place)
            if tag == _ORIENTATION and kind in {_SHORT, _LONG}:
                (value,) = struct.unpack_from(order + ("H" if kind == _SHORT else "I"), exif, place + 8)
                return value if 1 <= value <= _LAST else None
    except struct.error:
        return None
    return None
