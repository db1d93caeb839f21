"""A worker's leases: one thread renews all of them in one statement, another detects those that expired.

A lease is lost when its job is canceled or claimed by another worker, or when it is not renewed in time. The attempt
under a lost lease is interrupted at once; the lease token fences off anything it would still write.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

import structlog

from pixelflow.adapters.postgres.database import Database
from pixelflow.dataplane.worker import store
from pixelflow.dataplane.worker.store import Lease, Renewal
from pixelflow.errors import StoreUnavailableError

MAX_INTERVAL_SECONDS = 1.0
"""Longest interval between renewals, and so until a cancellation is noticed."""

_CLOSE_SECONDS = 2.0

_log = structlog.get_logger(__name__)


class LeaseLostError(Exception):
    """The worker no longer has the lease of the job."""


class ShutdownRequestedError(Exception):
    """The worker is stopping and must release the job."""


@dataclass(frozen=True)
class Progress:
    """What an attempt does at present."""

    stage: str
    percent: Callable[[], int | None] = lambda: None
    """How much of the stage is done, from 0 to 100; ``None``: unknown. Called from another thread."""

    @classmethod
    def by_size(cls, stage: str, path: Path, size: int) -> Self:
        """The progress of a stage that writes ``size`` bytes to the file at ``path``."""

        def percent() -> int | None:
            with suppress(OSError):
                return min(100, 100 * path.stat().st_size // size) if size else None
            return None

        return cls(stage, percent)


class ActiveLease:
    """A lease that is renewed while a thread works under it."""

    def __init__(self, lease: Lease, *, until: float) -> None:
        self.lease = lease
        self.until = until
        """When the lease expires unless renewed, on the monotonic clock."""
        self._lock = threading.Lock()
        self._reason: Exception | None = None
        self._interrupted = threading.Event()
        self._hooks: dict[object, Callable[[], None]] = {}
        self.recording = False
        """Whether the outcome is being written: the job's row may have ended before this is noticed here."""
        self.progress: Progress | None = None
        """What the attempt does. Recorded with each renewal; nothing depends on it."""
        # The keeper's threads log with the context of the working thread.
        self.log = _log.bind(
            **{**structlog.contextvars.get_contextvars(), "job_id": str(lease.job_id), "attempt": lease.token}
        )

    def interrupt(self, reason: Exception) -> None:
        """Stop the work: call the hooks and raise ``reason`` at the next ``check``. Later reasons are ignored."""
        with self._lock:
            if self._reason is None:
                self._reason = reason
            self._interrupted.set()
            for hook in self._hooks.values():
                hook()

    def set_cancel_hook(self, hook: Callable[[], None] | None) -> None:
        """Set the function that cancels the running transform, or ``None`` when none runs.

        Calls the hook at once if the lease has been interrupted.
        """
        if hook is None:
            self._remove_hook(self)
        else:
            self._add_hook(self, hook)

    @contextmanager
    def on_interrupt(self, hook: Callable[[], None]) -> Iterator[None]:
        """Call ``hook`` when the lease is interrupted while the context lasts; at once if it has been already.

        The hook must not block and may be called several times. Contexts of several threads may overlap.
        """
        key = object()
        self._add_hook(key, hook)
        try:
            yield
        finally:
            self._remove_hook(key)

    def _add_hook(self, key: object, hook: Callable[[], None]) -> None:
        with self._lock:
            self._hooks[key] = hook
            if self._reason is not None:
                hook()

    def _remove_hook(self, key: object) -> None:
        with self._lock:
            self._hooks.pop(key, None)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Write the outcome of the job within the context.

        A renewal meanwhile may find that the job has ended, which is no loss: the fenced write reports a real one.
        """
        self.recording = True
        try:
            yield
        except BaseException:
            self.recording = False
            raise

    def check(self) -> None:
        """Raise the reason of the interruption, if the lease was interrupted.

        Raises:
            LeaseLostError, ShutdownRequestedError: as given to ``interrupt``.
        """
        if self._reason is not None:
            raise self._reason

    def wait(self, seconds: float) -> None:
        """Wait until ``seconds`` have passed or the lease is interrupted.

        Raises:
            LeaseLostError, ShutdownRequestedError: as given to ``interrupt``.
        """
        self._interrupted.wait(seconds)
        self.check()


class LeaseKeeper:
    """Renews a worker's leases in the background."""

    def __init__(self, database: Database, *, lease: timedelta, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._duration = lease
        self._clock = clock
        self._active: set[ActiveLease] = set()
        self._reason: Exception | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._interval = min(MAX_INTERVAL_SECONDS, lease.total_seconds() / 3)
        self._threads = [
            threading.Thread(target=self._repeat, args=(work,), name=f"leases-{work.__name__}", daemon=True)
            for work in (self.run_once, self.expire_once)
        ]

    def start(self) -> None:
        """Start the threads that renew and expire leases."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop the threads, without waiting for a renewal that hangs."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=_CLOSE_SECONDS)

    @contextmanager
    def track(self, lease: Lease) -> Iterator[ActiveLease]:
        """Renew ``lease`` until the context exits."""
        active = ActiveLease(lease, until=self._clock() + self._duration.total_seconds())
        with self._lock:
            self._active.add(active)
            reason = self._reason
        if reason is not None:
            active.interrupt(reason)
        try:
            yield active
        finally:
            with self._lock:
                self._active.discard(active)

    def interrupt_all(self, reason: Exception) -> None:
        """Interrupt every tracked lease, and at once those that are tracked later."""
        with self._lock:
            self._reason = reason
        for active in self._snapshot():
            active.interrupt(reason)

    def _is_tracked(self, active: ActiveLease) -> bool:
        with self._lock:
            return active in self._active

    def _snapshot(self) -> list[ActiveLease]:
        with self._lock:
            return list(self._active)

    def _repeat(self, work: Callable[[], None]) -> None:
        while not self._stop.wait(self._interval):
            try:
                work()
            except Exception:  # noqa: BLE001  # a bug must not end the thread: all leases of the worker would expire
                _log.exception("lease renewal failed")

    def run_once(self) -> None:
        """Renew all tracked leases; interrupt those that were lost."""
        leases = self._snapshot()
        if not leases:
            return
        sent_at = self._clock()
        try:
            with self._database.connection() as connection:
                renewed = store.renew(connection, [_renewal(active) for active in leases], lease=self._duration)
        except StoreUnavailableError:
            _log.warning("leases not renewed: database unavailable", leases=len(leases))
            return
        for active in leases:
            if active.lease in renewed:
                active.until = sent_at + self._duration.total_seconds()
            elif self._is_tracked(active) and not active.recording:
                _interrupt_lost(active)

    def expire_once(self) -> None:
        """Interrupt leases that were not renewed in time. Does not query the database, which may hang."""
        for active in self._snapshot():
            if active.until <= self._clock():
                _interrupt_lost(active)


def _renewal(active: ActiveLease) -> Renewal:
    progress = active.progress
    if progress is None:
        return Renewal(active.lease)
    return Renewal(active.lease, progress.stage, progress.percent())


def _interrupt_lost(active: ActiveLease) -> None:
    active.log.warning("lease lost")
    active.interrupt(LeaseLostError())
