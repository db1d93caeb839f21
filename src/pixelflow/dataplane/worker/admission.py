"""Admission of transforms by memory and by user: large pictures take turns, and crashing users wait."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from pixelflow.dataplane.worker.resources import available_memory

_SHARE_OF_MEMORY = 0.75
"""Of the machine's or the container's memory; the rest is the worker's, the template's and the page cache."""
MIN_TRANSFORM_BYTES = 40_000_000
"""Memory of the smallest transform; `imaging.memory` estimates no less. A child that returns less is wrong."""
_PATIENCE_SECONDS = 5.0
"""Time after which no smaller transform may overtake a waiting one."""
_MAX_CRASHES = 5
_CRASH_WINDOW_SECONDS = 60.0
_MAX_USERS = 1000


class MemoryBudget:
    """Bytes that the transforms of a worker may use together, by their estimates. Thread-safe."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._used = 0
        self._waiting: OrderedDict[object, float] = OrderedDict()
        self._changed = threading.Condition()

    def try_acquire(self, size: int) -> bool:
        """Take the bytes if they are free and no transform has waited for long. More than the total needs all of it."""
        with self._changed:
            return self._take(min(size, self.total), None)

    def acquire(self, size: int, canceled: Callable[[], bool]) -> bool:
        """Wait for the bytes; False if ``canceled`` returns True first (call ``wake`` when it changes)."""
        size, ticket = min(size, self.total), object()
        with self._changed:
            self._waiting[ticket] = time.monotonic()
            try:
                while not canceled():
                    if self._take(size, ticket):
                        return True
                    self._changed.wait(1)
                return False
            finally:
                del self._waiting[ticket]
                self._changed.notify_all()

    def release(self, size: int) -> None:
        """Give the bytes back."""
        with self._changed:
            self._used -= min(size, self.total)
            self._changed.notify_all()

    def wake(self) -> None:
        """Have waiting callers check whether they are canceled."""
        with self._changed:
            self._changed.notify_all()

    def _take(self, size: int, ticket: object) -> bool:
        oldest = next(iter(self._waiting), None)
        if oldest not in {None, ticket} and time.monotonic() - self._waiting[oldest] > _PATIENCE_SECONDS:
            return False
        if self._used + size > self.total:
            return False
        self._used += size
        return True


class CrashBudget:
    """Counts the children that died on each user's pictures. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._crashes: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def count(self, user_id: str) -> None:
        """Count a child that died."""
        with self._lock:
            self._crashes.setdefault(user_id, deque(maxlen=_MAX_CRASHES)).append(self._clock())
            self._crashes.move_to_end(user_id)
            while len(self._crashes) > _MAX_USERS:
                self._crashes.popitem(last=False)

    def seconds_to_wait(self, user_id: str) -> float:
        """Return the seconds until the user's pictures are processed again; 0 unless five crashed within a minute."""
        with self._lock:
            crashes = self._crashes.get(user_id)
            if crashes is None or len(crashes) < _MAX_CRASHES:
                return 0
            return max(0.0, crashes[0] + _CRASH_WINDOW_SECONDS - self._clock())


def default_memory() -> int:
    """Return the memory budget in bytes that suits this machine or container."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = available_memory()
    return int((total if limit is None else min(total, limit)) * _SHARE_OF_MEMORY)
