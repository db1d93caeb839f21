"""The end of a file that an interrupted download may have left full of zeros."""

from __future__ import annotations

import os

_BLOCK = 4096


def end_without_zeros(descriptor: int) -> int:
    """Return the position behind the last byte of the file that is not zero."""
    end = os.fstat(descriptor).st_size
    while end > 0:
        start = max(0, end - _BLOCK)
        content = os.pread(descriptor, end - start, start).rstrip(b"\0")
        if content:
            return start + len(content)
        end = start
    return 0
