"""How long a client may take to read what it was sent."""

from __future__ import annotations

import math

MAX_STILL_SECONDS = 20.0
"""In which a client must read some of what it was sent."""
_MAX_SECONDS = 600.0
"""In which it must read all. The largest file of ``/docs``, 1.7 MB, takes 4 minutes at 56 kbit/s."""


class UnreadDeadline:
    """The deadline of one client to read what waits for it. Times are the event loop's; sizes are bytes that wait.

    It compares sizes, because ``resume_writing`` shows no progress: uvloop calls it only once all is sent.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Nothing waits."""
        self._next = self._last = math.inf
        self._size = 0

    def start(self, now: float, size: int) -> None:
        """Something waits from now on."""
        self._size = size
        self._next, self._last = now + MAX_STILL_SECONDS, now + _MAX_SECONDS

    def is_due(self, now: float) -> bool:
        """Whether it is time to call ``has_passed``."""
        return now > self._next

    def has_passed(self, now: float, size: int) -> bool:
        """Whether the client read nothing since the last call, or has had too much time; else allow it more."""
        if size >= self._size or now > self._last:
            return True
        self._size, self._next = size, min(now + MAX_STILL_SECONDS, self._last)
        return False
