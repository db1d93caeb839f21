"""The structure of a WebP file (RFC 9649), without decoding it.

libwebp refuses a file that is shorter than its header says, by whatever little, and decodes zeros as if they were
pixels.
"""

from __future__ import annotations

import mmap
import os
from typing import NamedTuple

from pixelflow.imaging.loading import Content

_HEADER = 8
"""Bytes of the name and the size of a chunk."""
_FIRST_CHUNK = 12
_MAX_MISSING = 1 << 30
"""Zeros that are added at most: the header of a damaged file can have any size. They take address space, no memory."""
_MAX_CHUNKS = 1 << 16
"""Chunks that are read."""
_PIXELS = frozenset({b"VP8 ", b"VP8L", b"ALPH", b"ANMF"})
_MAX_ZEROS = 256
"""Zeros in a row that compressed pixels never end with: a code of one bit that repeats is written as a repetition."""


class _Chunk(NamedTuple):
    name: bytes
    end: int
    """Behind its payload, without padding."""


def completed(descriptor: int, *, tolerant: bool) -> Content | None:
    """Return the file with the padding that it lacks, or ``None`` if it can be decoded as it is.

    A chunk of an odd size is followed by a byte of padding, which some programs omit at the end of the file. If
    ``tolerant``, what the last chunk of a truncated file lacks is filled with zeros, and the file ends with it.
    """
    size = os.fstat(descriptor).st_size
    missing = _declared_size(descriptor) - size
    if missing <= 0:
        return None
    last = _last_chunk(descriptor, size)
    if missing == 1 and last.end == size:
        return os.pread(descriptor, size, 0) + b"\0"
    return _filled(descriptor, size, last) if tolerant and last.end else None


def _filled(descriptor: int, size: int, last: _Chunk) -> mmap.mmap:
    end = min(last.end + last.end % 2, size + _MAX_MISSING)
    content = mmap.mmap(-1, end)
    content[: min(size, end)] = os.pread(descriptor, min(size, end), 0)
    content[4:8] = (end - _HEADER).to_bytes(4, "little")
    return content


def is_zero_filled(descriptor: int) -> bool:
    """Whether the file ends with zeros where there should be pixels, as after an interrupted download."""
    end = min(_declared_size(descriptor), os.fstat(descriptor).st_size)
    if os.pread(descriptor, _MAX_ZEROS, max(0, end - _MAX_ZEROS)).strip(b"\0"):
        return False
    last = _last_chunk(descriptor, end)
    return last.name in _PIXELS and last.end >= end - _MAX_ZEROS


def _declared_size(descriptor: int) -> int:
    return _HEADER + int.from_bytes(os.pread(descriptor, 4, 4), "little")


def _last_chunk(descriptor: int, size: int) -> _Chunk:
    position, last = _FIRST_CHUNK, _Chunk(b"", 0)
    for _ in range(_MAX_CHUNKS):
        if position + _HEADER > size:
            break
        head = os.pread(descriptor, _HEADER, position)
        length = int.from_bytes(head[4:], "little")
        last = _Chunk(head[:4], position + _HEADER + length)
        position = last.end + length % 2
    return last
