"""The leases of a worker: renewed together, in one statement, by one thread; another minds those that run out.

A lease is lost when its job was canceled or given to another worker, or when it could not be renewed in time. Whoever
works under it is told at once; what it would still write is refused by the lease token anyway.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog

from pixelflow.adapters.postgres.database import Database
from pixelflow.contracts.errors import StoreUnavailableError
from pixelflow.dataplane.worker import store
from pixelflow.dataplane.worker.store import Lease

MAX_INTERVAL_SECONDS = 1.0
"""Between renewals, at most: a canceled job is noticed within it."""

_CLOSE_SECONDS = 2.0

_log = structlog.get_logger(__name__)


class LeaseLostError(Exception):
    """The job is no longer this worker's."""


class ShutdownRequestedError(Exception):
    """The worker is leaving; the job goes back to the queue."""


class ActiveLease:
    """A lease that is being renewed, as the thread that works under it sees it."""

    def __init__(self, lease: Lease, *, until: float) -> None:
        self.lease = lease
        self.until = until
        """When it runs out unless renewed, on the monotonic clock."""
        self._lock = threading.Lock()
        self._reason: Exception | None = None
        self._interrupted = threading.Event()
        self._kill: Callable[[], None] | None = None
        # What the working thread's lines say of the job; the keeper's own threads know nothing of it.
        self.log = _log.bind(
            **{**structlog.contextvars.get_contextvars(), "job_id": str(lease.job_id), "attempt": lease.token}
        )

    def interrupt(self, reason: Exception) -> None:
        """Stop the work: kill the child that is at it, raise ``reason`` at the next ``check``. The first stays."""
        with self._lock:
            if self._reason is None:
                self._reason = reason
            self._interrupted.set()
            if self._kill is not None:
                self._kill()

    def on_child(self, kill: Callable[[], None] | None) -> None:
        """Say how to kill the child that works for this job; ``None``: there is none."""
        with self._lock:
            self._kill = kill
            if kill is not None and self._reason is not None:
                kill()

    def check(self) -> None:
        """Raise the reason to stop, if there is one.

        Raises:
            LeaseLostError, GoodbyeError: as given to ``interrupt``.
        """
        if self._reason is not None:
            raise self._reason

    def pause(self, seconds: float) -> None:
        """Wait, but not longer than there is a reason to go on.

        Raises:
            LeaseLostError, GoodbyeError: as given to ``interrupt``.
        """
        self._interrupted.wait(seconds)
        self.check()


class LeaseKeeper:
    """Holds a worker's leases."""

    def __init__(self, database: Database, *, lease: timedelta, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._duration = lease
        self._clock = clock
        self._held: set[ActiveLease] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._interval = min(MAX_INTERVAL_SECONDS, lease.total_seconds() / 3)
        self._threads = [
            threading.Thread(target=self._repeat, args=(work,), name=f"leases-{work.__name__}", daemon=True)
            for work in (self.run_once, self.expire_once)
        ]

    def start(self) -> None:
        """Begin to renew."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop renewing; a renewal that hangs is not waited for."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=_CLOSE_SECONDS)

    @contextmanager
    def hold(self, lease: Lease) -> Iterator[ActiveLease]:
        """Renew ``lease`` for as long as the context lasts."""
        held = ActiveLease(lease, until=self._clock() + self._duration.total_seconds())
        with self._lock:
            self._held.add(held)
        try:
            yield held
        finally:
            with self._lock:
                self._held.discard(held)

    def interrupt_all(self, reason: Exception) -> None:
        """Stop all work."""
        for held in self._snapshot():
            held.interrupt(reason)

    def _snapshot(self) -> list[ActiveLease]:
        with self._lock:
            return list(self._held)

    def _repeat(self, work: Callable[[], None]) -> None:
        while not self._stop.wait(self._interval):
            try:
                work()
            except Exception:  # noqa: BLE001  # the thread must outlive a bug: without it every lease of the worker runs out
                _log.exception("leases could not be kept")

    def run_once(self) -> None:
        """Renew all; interrupt what is no longer this worker's."""
        held = self._snapshot()
        if not held:
            return
        asked_at = self._clock()
        try:
            with self._database.connection() as connection:
                kept = store.renew(connection, [each.lease for each in held], lease=self._duration)
        except StoreUnavailableError:
            _log.warning("leases not renewed: the database is not available", leases=len(held))
            return
        for each in held:
            if each.lease in kept:
                each.until = asked_at + self._duration.total_seconds()
            else:
                _lose(each)

    def expire_once(self) -> None:
        """Interrupt what could not be renewed in time; asks nobody, since whoever would answer may hang."""
        for each in self._snapshot():
            if each.until <= self._clock():
                _lose(each)


def _lose(held: ActiveLease) -> None:
    held.log.warning("lease lost")
    held.interrupt(LeaseLostError())
