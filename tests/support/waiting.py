"""Waiting for other processes, and limits of time, on machines of any speed.

Limits are those of an idle machine of 2024. One that is exceeded is multiplied by how much slower this machine is at
that moment, and a pause of the whole machine is added, so that a slow or busy machine does not fail. What must be told
apart by a limit has to differ by more than ``PAUSE_SECONDS``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE_SECONDS = 30.0
"""For conditions whose time is not what a test is about."""
POLL_SECONDS = 0.02
PROBE_SECONDS = 0.12
"""What :func:`_probe` takes on an idle core of an AMD EPYC of 2024 with CPython 3.11."""
MAX_SLOWNESS = 30.0
PAUSE_SECONDS = 5.0
"""How long a busy machine may pause a process, or all of them, at any moment."""
MAX_SECONDS = 120.0
"""Of :func:`eventually`, unless its own limit is longer: one that never holds must not take hours."""


def eventually(condition: Callable[[], T], seconds: float = DEADLINE_SECONDS) -> T:
    """Poll until ``condition`` returns something true, and return that."""
    began = time.monotonic()
    limit = seconds
    while not (found := condition()):
        elapsed = time.monotonic() - began
        if elapsed >= limit:
            limit = max(seconds, min(time_limit(seconds), MAX_SECONDS))
            if elapsed >= limit:
                found = condition()  # it may hold since a pause of this process
                assert found, f"not within {limit:.0f} s"
                break
        time.sleep(POLL_SECONDS)
    return found


def assert_within(seconds: float, began: float) -> None:
    """Fail if more than :func:`time_limit` of ``seconds`` has passed since ``began`` (on the monotonic clock)."""
    elapsed = time.monotonic() - began
    assert elapsed <= seconds or elapsed <= time_limit(seconds), f"took {elapsed:.1f} s instead of {seconds:g} s"


def time_limit(seconds: float) -> float:
    """``seconds``, multiplied by how much slower this machine is just now than the one that limits are meant for.

    And a pause of the machine.
    """
    return seconds * min(max(_probe() / PROBE_SECONDS, 1.0), MAX_SLOWNESS) + PAUSE_SECONDS


def assert_cpu_within(seconds: float, began: float) -> None:
    """Fail if this process has used more CPU since ``began`` (by ``process_time``), also for how slow a core is now."""
    used = time.process_time() - began
    slowness = 1.0 if used <= seconds else _probe(time.process_time) / PROBE_SECONDS
    assert used <= seconds * max(slowness, 1.0), f"used {used:.2f} s of CPU instead of {seconds:g} s"


def _probe(clock: Callable[[], float] = time.monotonic) -> float:
    """Seconds that a fixed computation takes; long enough to meet the pauses of a throttled container."""
    began = clock()
    sum(range(12_000_000))  # not slowed down by coverage, which traces lines
    return clock() - began
