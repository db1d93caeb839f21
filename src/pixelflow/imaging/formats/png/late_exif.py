"""EXIF behind the pixels of a PNG (third edition, 11.3.4.6), where libvips does not look for it."""

from __future__ import annotations

import os
import zlib

from pixelflow.imaging.exif import orientation_of

_TAIL_BYTES = 1 << 16
"""At the end of the file. EXIF without a thumbnail has a few kilobytes."""
_NAME = b"eXIf"


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
