"""A circuit breaker: opens after consecutive failures, allows one trial after a delay, and closes after a success.

Pure state with a clock and a source of randomness passed in; it performs no check by itself.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from enum import Enum

FAILURES = 3
"""Consecutive failures that open a breaker."""
FIRST_DELAY_SECONDS = 1.0
MAX_DELAY_SECONDS = 30.0
"""Longest time between two trials, and so the longest that a recovery stays unnoticed."""


class State(Enum):
    """The state of a breaker."""

    CLOSED = "closed"
    OPEN = "open"
    """The dependency fails: do not use it until the next trial is due."""
    TRIAL = "trial"
    """A check succeeded: use it for one job at a time."""


class Breaker:
    """The breaker of one dependency. Thread-safe."""

    def __init__(
        self,
        *,
        failures: int = FAILURES,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._limit = failures
        self._clock = clock
        self._jitter = jitter
        self._lock = threading.Lock()
        self._failures = 0
        self._openings = 0
        self._trial_at = 0.0
        self._state = State.CLOSED

    @property
    def state(self) -> State:
        """The current state."""
        return self._state

    @property
    def trial_due(self) -> bool:
        """Whether the breaker is open and its delay has passed, so that the dependency should be checked."""
        return self._state is State.OPEN and self._clock() >= self._trial_at

    def record_failure(self) -> None:
        """Count a failure. Opens a closed breaker at the limit, a breaker in trial at once; extends an open one."""
        with self._lock:
            self._failures += 1
            if self._state is State.CLOSED and self._failures < self._limit:
                return
            if self._state is State.OPEN and self._clock() < self._trial_at:
                return  # an attempt that began before the breaker opened
            self._open()

    def record_success(self) -> None:
        """Reset the count of failures. Closes a breaker in trial; an open one stays open until its check succeeds."""
        with self._lock:
            if self._state is not State.OPEN:
                self._failures, self._openings, self._state = 0, 0, State.CLOSED

    def allow_trial(self) -> None:
        """Record that a check of an open breaker's dependency succeeded."""
        with self._lock:
            if self._state is State.OPEN:
                self._state = State.TRIAL

    def open(self) -> None:
        """Open the breaker after any number of failures; a breaker that is open stays as it is."""
        with self._lock:
            if self._state is not State.OPEN:
                self._open()

    def _open(self) -> None:
        delay = min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0**self._openings)
        self._openings = min(self._openings + 1, 10)
        self._trial_at = self._clock() + delay / 2 + self._jitter() * delay / 2
        self._state = State.OPEN
