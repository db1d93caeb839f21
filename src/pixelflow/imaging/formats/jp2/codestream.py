"""The main header of a JPEG 2000 codestream (ISO/IEC 15444-1, annex A)."""

from __future__ import annotations

import struct

_START = b"\xff\x4f\xff\x51"
_CODING_STYLE, _START_OF_TILE = 0xFF52, 0xFF90
_LEVELS_AT = 9
"""Of the marker segment: marker, length, style, progression, layers, transformation, levels."""
_MAX_MARKERS = 50


def count_levels(head: bytes) -> int:
    """Return how often the resolution can be halved; 0 if the main header is not in ``head``."""
    at = head.find(_START) + 2
    if at < len(b"\xff\x4f"):
        return 0
    try:
        for _ in range(_MAX_MARKERS):
            marker, length = struct.unpack_from(">HH", head, at)
            if marker == _CODING_STYLE:
                return head[at + _LEVELS_AT]
            if marker == _START_OF_TILE:
                break
            at += 2 + length
    except (struct.error, IndexError):
        pass
    return 0
