"""Places for transfers from and to named buckets: a server that does not answer takes a bounded part of a worker.

The buckets are the operator's, so there is no share of a user, and a job waits a moment for a place at a busy server.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE_SECONDS = 1.0
"""How long a job waits for a place, from when one was taken or given back last. If none is given back for as long, the
server is slow or silent, and jobs don't wait."""
IN_USE_SECONDS = 60.0
"""How long a place is kept for a server that has none, from when a job asked for one or gave one back last: longer than
the delay of a job that was released for want of it."""


class BucketPlaces:
    """Bounds the transfers of a worker with named buckets to half of its places, and three quarters of these a server.

    Each server in use that holds no place has one reserved, so that several servers that don't answer leave a place to
    each of the others. With more servers than places, half of the places are reserved. A server that no job has asked
    for within ``IN_USE_SECONDS`` has none: the others would do less for nothing.

    Thread-safe. A job holds one place at a time: for its source, and later for its outputs.
    """

    def __init__(self, places: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """``places``: jobs that the worker has at hand at most."""
        self._total = max(1, places // 2)
        self._per_server = max(1, self._total * 3 // 4)
        self._clock = clock
        self._changed = threading.Condition()
        self._held: Counter[str] = Counter()
        self._needed_at: dict[str, float] = {}
        """When a job asked for a place of a server or gave one back last: of the named buckets, so they are few."""
        self._used_at: dict[str, float] = {}
        """When a place of a server was taken or given back last."""

    @contextmanager
    def place(self, server: str, refusal: Exception) -> Iterator[None]:
        """Hold a place for the transfers of one job with a server.

        Raises:
            Exception: ``refusal``, if there is no place, also not within ``PATIENCE_SECONDS``.
        """
        with self._changed:
            self._needed_at[server] = self._clock()
            patience = max(0.0, self._left(self._latest(server)))
            if not self._changed.wait_for(lambda: not self._is_full(server), patience):
                raise refusal
            self._count(server, 1)
        try:
            yield
        finally:
            with self._changed:
                self._count(server, -1)

    def check(self, server: str, refusal: Exception) -> None:
        """Raise ``refusal`` if the server is slow or silent, or if :meth:`place` would raise it at once.

        A transform before the place is asked for takes time. So the places of other servers are no reason for patience
        with one that holds a place itself.
        """
        with self._changed:
            self._needed_at[server] = self._clock()
            latest = self._used_at[server] if self._held[server] else self._latest(server)
            if self._is_full(server) and self._left(latest) <= 0:
                raise refusal

    def _is_full(self, server: str) -> bool:
        free = self._total - self._held.total()
        return self._held[server] >= self._per_server or free <= self._reserved(server)

    def _reserved(self, server: str) -> int:
        """Return how many free places another place of this server must leave."""
        if not self._held[server]:
            return 0
        since = self._clock() - IN_USE_SECONDS
        without = sum(needed_at > since and not self._held[each] for each, needed_at in self._needed_at.items())
        return min(without, self._total // 2)

    def _latest(self, server: str) -> float:
        """Return when a place that the server may get was taken or given back last."""
        # With fewer places than it may have, the server waits for one of any server.
        if self._held[server] >= self._per_server:
            return self._used_at[server]
        return max(self._used_at.values(), default=self._clock())

    def _left(self, latest: float) -> float:
        """Return how many seconds of patience are left."""
        return latest + PATIENCE_SECONDS - self._clock()

    def _count(self, server: str, change: int) -> None:
        self._held[server] += change
        self._needed_at[server] = self._used_at[server] = self._clock()
        self._changed.notify_all()
