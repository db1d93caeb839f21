"""The claim loop: claims jobs for the free places of a worker, and runs each in a thread of its own.

An idle worker waits for a wake-up and looks by itself about every second, so that a lost wake-up costs a second and
nothing else. A worker without free places asks nobody anything.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from queue import SimpleQueue
from typing import Protocol

import structlog

from pixelflow.adapters.postgres.database import Database
from pixelflow.dataplane.worker import store
from pixelflow.dataplane.worker.store import ClaimedJob
from pixelflow.errors import StoreUnavailableError

WAIT_SECONDS = 0.7, 1.0
"""Shortest and longest wait of an idle worker between two claims, chosen at random."""
SIGN_OF_LIFE_SECONDS = 5.0
PROMOTE_SECONDS = 1.0
UNREGISTER_SECONDS = 2.0
"""Longest wait for the database at the end; without an answer, the sign of life expires."""
MAX_PROMOTED = 100

RunJob = Callable[[ClaimedJob, int], None]
"""Processes a claimed job; the second argument is when the claim began, in nanoseconds since the epoch."""

_log = structlog.get_logger(__name__)


class WakeUps(Protocol):
    """Where the loop waits while it has free places and found nothing to do."""

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Wait for a wake-up, at most ``seconds``."""

    def pass_on(self) -> None:
        """Wake another worker."""


@dataclass(frozen=True)
class Worker:
    """What the database knows of this worker."""

    worker_id: str
    capabilities: Sequence[str]
    slots: int


class Places:
    """The places of a worker: threads that each process one job at a time."""

    def __init__(self, places: int, run: RunJob) -> None:
        self._run = run
        self._on_free: Callable[[], None] = lambda: None
        self._jobs: SimpleQueue[tuple[ClaimedJob, int] | None] = SimpleQueue()
        self._free = places
        self._closed = False
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._work, name=f"job-{number}", daemon=True) for number in range(places)
        ]

    def start(self, *, on_free: Callable[[], None] = lambda: None) -> None:
        """Start the threads; ``on_free`` is called in the thread of each job that has ended."""
        self._on_free = on_free
        for thread in self._threads:
            thread.start()

    def capacity(self) -> int:
        """Return the number of free places."""
        return self._free

    def in_hand(self) -> int:
        """Return the number of jobs that were submitted and have not ended."""
        return len(self._threads) - self._free

    def submit(self, job: ClaimedJob, claim_start_ns: int) -> None:
        """Process the job in one of the free places; after :meth:`close`, run it in the calling thread instead.

        A job of a claim that returned too late has a lease that is interrupted, so running it releases it.
        """
        with self._lock:
            if not self._closed:
                self._free -= 1
                self._jobs.put((job, claim_start_ns))
                return
        with self._no_errors(job):
            self._run(job, claim_start_ns)

    def close(self) -> None:
        """End each thread after its job, without waiting."""
        with self._lock:
            self._closed = True
        for _ in self._threads:
            self._jobs.put(None)

    def join(self, seconds: float) -> bool:
        """Wait for jobs in progress after :meth:`close`, at most ``seconds``; returns whether all ended."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            with self._no_errors(item[0]):
                self._run(*item)
            with self._lock:
                self._free += 1
            with self._no_errors(item[0]):
                self._on_free()

    @contextmanager
    def _no_errors(self, job: ClaimedJob) -> Iterator[None]:
        try:
            yield
        except Exception:  # noqa: BLE001  # a bug must not end the thread, and with it a place
            _log.exception("job thread failed", job_id=str(job.job_id))


@dataclass(frozen=True)
class ClaimLimits:
    """What a worker claims at present. Each is asked again before a claim."""

    capacity: Callable[[], int]
    """Returns the number of free places."""
    room_of: Mapping[str, Callable[[], int]] = field(default_factory=dict)
    """For capabilities whose jobs have places of their own, how many of them are free. Without any, the worker claims
    no job that requires the capability; otherwise, it claims at most as many jobs at once."""
    resting: Callable[[], Sequence[str]] = tuple
    """Returns the users of whom no job with a source by URL is claimed."""
    may_claim: Callable[[], bool] = lambda: True
    """Whether the worker claims at all."""
    degraded: Callable[[], str | None] = lambda: None
    """Why it does not, in a few words; registered with the worker."""


class ClaimLoop:
    """Claims jobs for the free places, in a thread of its own."""

    def __init__(
        self,
        database: Database,
        worker: Worker,
        *,
        lease: timedelta,
        limits: ClaimLimits,
        submit: RunJob,
        wakeups: WakeUps,
        on_database: Callable[[bool], None] = lambda _available: None,
        on_claim: Callable[[str], None] = lambda _: None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Connect the loop to its surroundings.

        Args:
            database: for claims.
            worker: as it is registered.
            lease: duration of the leases.
            limits: what it claims at present.
            submit: starts to process a claimed job.
            wakeups: where to wait.
            on_database: called after each claim with whether the database was available.
            on_claim: called with the owner of each claimed job.
            jitter: returns a random number from 0 to 1.
        """
        self._database = database
        self._worker = worker
        self._lease = lease
        self._limits = limits
        self._submit = submit
        self._wakeups = wakeups
        self._on_database = on_database
        self._on_claim = on_claim
        self._jitter = jitter
        self._stop = threading.Event()
        self._freed = threading.Event()
        self._waiting = False
        self._claiming = threading.Lock()
        self._sign_of_life_at = self._promote_at = float("-inf")
        self._is_down = False
        self._thread = threading.Thread(target=self._repeat, name="claims", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Claim nothing more. A claim in progress still starts its jobs; does not wait for it."""
        self._stop.set()
        self._freed.set()

    def join(self, seconds: float) -> bool:
        """Wait for a claim in progress after :meth:`stop`, at most ``seconds``; returns whether it ended.

        Does not wait for the thread, which may be waiting for Redis.
        """
        if not self._claiming.acquire(timeout=seconds):
            return False
        self._claiming.release()
        return True

    def unregister(self, seconds: float = UNREGISTER_SECONDS) -> None:
        """Remove the worker from the live ones. Waits at most ``seconds`` for the database."""
        thread = threading.Thread(target=self._unregister, name="unregister", daemon=True)
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            _log.warning("worker not unregistered: database unavailable")

    def _unregister(self) -> None:
        try:
            with self._database.connection() as connection:
                store.unregister(connection, worker_id=self._worker.worker_id)
        except StoreUnavailableError:
            _log.warning("worker not unregistered: database unavailable")

    def on_free(self) -> None:
        """A place became free. While the loop waits for a wake-up, claim in the calling thread."""
        self._freed.set()
        if self._waiting:
            self.run_once()

    def run_once(self) -> int:
        """Claim for all free places in one statement and start the jobs; returns how many."""
        with self._claiming:
            places = self._limits.capacity()
            if places <= 0 or self._stop.is_set() or not self._limits.may_claim():
                return 0
            start_ns = time.time_ns()
            jobs = self._claim(places)
            for job in jobs:
                self._submit(job, start_ns)
                self._on_claim(job.user_id)
        if 0 < len(jobs) == places:
            self._wakeups.pass_on()
        return len(jobs)

    def _claim(self, places: int) -> list[ClaimedJob]:
        room = {capability: free() for capability, free in self._limits.room_of.items()}
        capabilities = [each for each in self._worker.capabilities if room.get(each, places) > 0]
        places = min([places, *(free for free in room.values() if free > 0)])
        try:
            with self._database.connection() as connection:
                jobs = store.claim(
                    connection,
                    places=places,
                    capabilities=capabilities,
                    worker_id=self._worker.worker_id,
                    lease=self._lease,
                    resting=self._limits.resting(),
                )
        except StoreUnavailableError as error:
            if not self._is_down:
                _log.warning("no jobs claimed: database unavailable", code=error.code)
            self._is_down = True
            self._on_database(False)
            return []
        self._is_down = False
        self._on_database(True)
        return jobs

    def look_around(self) -> None:
        """Send a sign of life and promote delayed jobs, each if it is time."""
        now = time.monotonic()
        try:
            if now >= self._sign_of_life_at:
                self._sign_of_life_at = now + SIGN_OF_LIFE_SECONDS
                with self._database.connection() as connection:
                    store.register(connection, **vars(self._worker), degraded=self._limits.degraded())
            if now >= self._promote_at:
                self._promote_at = now + PROMOTE_SECONDS
                with self._database.connection() as connection:
                    store.promote_due(connection, limit=MAX_PROMOTED)
        except StoreUnavailableError as error:
            _log.debug("no sign of life: database unavailable", code=error.code)

    def _repeat(self) -> None:
        while not self._stop.is_set():
            try:
                self._freed.clear()
                self.look_around()
                if not self.run_once():
                    self._wait()
            except Exception:  # noqa: BLE001  # a bug must not end the thread: the worker would idle for ever
                _log.exception("claim loop failed")
                self._stop.wait(WAIT_SECONDS[1])

    def _wait(self) -> None:
        """Wait for a free place; or, if there is one and the worker claims, for a wake-up."""
        shortest, longest = WAIT_SECONDS
        seconds = shortest + (longest - shortest) * self._jitter()
        if self._limits.capacity() <= 0:
            self._freed.wait(seconds)
        elif not self._limits.may_claim():
            self._stop.wait(seconds)
        else:
            self._waiting = True
            try:
                if not self._freed.is_set():  # else a place became free before `on_free` could see the flag
                    self._wakeups.wait(seconds, self._stop)
            finally:
                self._waiting = False
