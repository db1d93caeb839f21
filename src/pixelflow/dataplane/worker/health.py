"""Whether a worker is fit to claim jobs: breakers for what it depends on, and the free space of its scratch folder.

A worker that is not fit claims nothing, reports the reasons, and becomes fit again by itself. It must never end a job
because of its own condition.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path

import structlog

from pixelflow.dataplane.worker.breaker import FAILURES, Breaker, State
from pixelflow.errors import PixelflowError

CHECK_SECONDS = 1.0
"""Between two looks at the scratch folder and at open breakers."""
MIN_FREE_INODES = 200
"""Of the scratch folder's file system: a few files for each job at hand."""
_PROBE_BYTES = 1024 * 1024
_CLOSE_SECONDS = 2.0

_log = structlog.get_logger(__name__)


class Reason(StrEnum):
    """Why a worker does not claim jobs; a label of the metric ``pixelflow_worker_degraded``."""

    OBJECT_STORAGE = "object_storage"
    DATABASE = "database"
    CHILD_START = "child_start"
    """Transform children can't be started."""
    RESOURCES = "resources"
    """The worker got errors such as «disk full», «too many open files» or «out of memory»."""
    SCRATCH_BYTES = "scratch_bytes"
    SCRATCH_INODES = "scratch_inodes"


Check = Callable[[], object]
"""Raises a ``PixelflowError`` or an ``OSError`` if the dependency does not work."""
_BREAKERS = {
    Reason.OBJECT_STORAGE: FAILURES,
    Reason.DATABASE: FAILURES,
    Reason.CHILD_START: 1,
    Reason.RESOURCES: 1,
}
"""Failures that open each breaker. A full disk does not empty itself; a request may fail by chance."""


class WorkerHealth:
    """The condition of one worker. Thread-safe."""

    def __init__(
        self,
        *,
        scratch: Path,
        min_free_bytes: int,
        on_change: Callable[[Reason, bool], None] = lambda _reason, _degraded: None,
        new_breaker: Callable[..., Breaker] = Breaker,
    ) -> None:
        """Does not check yet.

        Args:
            scratch: the folder for sources and outputs.
            min_free_bytes: free bytes of its file system below which the worker claims nothing.
            on_change: called with each reason that begins or ends.
            new_breaker: makes the breaker of each dependency, given ``failures``.
        """
        self._scratch = scratch
        self._min_free_bytes = min_free_bytes
        self._on_change = on_change
        self._breakers = {reason: new_breaker(failures=failures) for reason, failures in _BREAKERS.items()}
        self._checks: dict[Reason, Check] = {Reason.RESOURCES: self._probe_scratch}
        self._space: frozenset[Reason] = frozenset()
        self._known: frozenset[Reason] = frozenset()
        self._running: dict[Reason, threading.Thread] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker-health", daemon=True)

    def add_checks(self, checks: Mapping[Reason, Check]) -> None:
        """Set how to check dependencies whose breakers are open; without a check, a job is the trial."""
        self._checks.update(checks)

    def start(self) -> None:
        """Start to check in the background."""
        self.check_once()
        self._thread.start()

    def close(self) -> None:
        """Stop the checks, without waiting for one that hangs."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_SECONDS)

    # ── For the claim ────────────────────────────────────────────────────────────────────────────

    @property
    def reasons(self) -> list[Reason]:
        """Why the worker does not claim jobs; empty if it does."""
        found = {reason for reason, breaker in self._breakers.items() if breaker.state is State.OPEN}
        return sorted(found | self._space)

    def room(self, in_hand: int) -> int | None:
        """Return how many more jobs the worker may claim now, ``in_hand`` being those it has; ``None``: any number."""
        if self.reasons:
            return 0
        if any(breaker.state is State.TRIAL for breaker in self._breakers.values()):
            return max(0, 1 - in_hand)
        return None

    def may_claim(self) -> bool:
        """Return whether the worker may claim jobs now, if only one at a time."""
        return not self.reasons

    # ── For attempts ─────────────────────────────────────────────────────────────────────────────

    def record_failure(self, reason: Reason) -> None:
        """Count a failure of a dependency."""
        self._breakers[reason].record_failure()
        self._publish()

    def record_success(self, *reasons: Reason) -> None:
        """Record that these dependencies worked."""
        for reason in reasons:
            self._breakers[reason].record_success()
        if self._known:
            self._publish()

    # ── Checks ───────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        while not self._stop.wait(CHECK_SECONDS):
            try:
                self.check_once()
            except Exception:  # noqa: BLE001  # a bug must not end the thread: an open breaker would stay open
                _log.exception("worker health check failed")

    def check_once(self) -> None:
        """Look at the scratch folder, and check the dependencies whose trial is due."""
        self._space = self._measure_space()
        for reason, breaker in self._breakers.items():
            if breaker.trial_due:
                self._try(reason, breaker)
        self._publish()

    def _try(self, reason: Reason, breaker: Breaker) -> None:
        """Check a dependency in a thread of its own, because a check that hangs must not stop the others."""
        running = self._running.get(reason)
        if running is not None and running.is_alive():
            return
        thread = threading.Thread(target=self._check, args=(reason, breaker), name=f"check-{reason.value}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads
            breaker.record_failure()
            return
        self._running[reason] = thread
        thread.join(CHECK_SECONDS)

    def _check(self, reason: Reason, breaker: Breaker) -> None:
        try:
            self._checks.get(reason, lambda: None)()
        except (PixelflowError, OSError) as error:
            _log.debug("still unavailable", dependency=reason.value, error=type(error).__name__)
            breaker.record_failure()
        except Exception:  # noqa: BLE001  # a bug
            _log.exception("worker health check failed")
            breaker.record_failure()
        else:
            breaker.allow_trial()
        self._publish()

    def _measure_space(self) -> frozenset[Reason]:
        try:
            found = os.statvfs(self._scratch)
        except OSError:  # removed, or its disk is away
            return frozenset({Reason.SCRATCH_BYTES})
        low = set()
        if found.f_bavail * found.f_frsize < self._min_free_bytes:
            low.add(Reason.SCRATCH_BYTES)
        if found.f_files and found.f_favail < MIN_FREE_INODES:  # some file systems report no inodes at all
            low.add(Reason.SCRATCH_INODES)
        return frozenset(low)

    def _probe_scratch(self) -> None:
        """Write a file: a quota, or a file system that became read-only, does not show in the free space."""
        probe = self._scratch / "probe"
        try:
            probe.write_bytes(bytes(_PROBE_BYTES))
        finally:
            probe.unlink(missing_ok=True)

    def _publish(self) -> None:
        with self._lock:
            reasons = frozenset(self.reasons)
            begun, ended = reasons - self._known, self._known - reasons
            self._known = reasons
            for reason in sorted(begun):
                _log.warning("worker degraded: it claims no jobs", reason=reason.value)
                self._on_change(reason, True)
            for reason in sorted(ended):
                _log.info("worker recovered", reason=reason.value)
                self._on_change(reason, False)
