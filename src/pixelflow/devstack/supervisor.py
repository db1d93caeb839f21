"""Process supervisor: starts processes, waits until they are ready, restarts those that exit, and stops all of them.

It knows nothing about the programs it runs. Stopping never takes longer than ``STOP_SECONDS``, even if processes ignore
their signals.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pixelflow.devstack.errors import StackError
from pixelflow.devstack.processes import stop_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pixelflow.devstack.processes import Child

START_SECONDS = 60.0
STOP_SECONDS = 8.5
"""Time limit of a shutdown, so that ``pixelflow up`` exits within 10 s."""
RESERVED_SECONDS = 3.0
"""Share of that time that is reserved for each group that is stopped later."""
READY_POLL_SECONDS = 0.01
WATCH_POLL_SECONDS = 0.1
BACKOFF_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Delays before consecutive restarts; the last value repeats."""
HEALTHY_SECONDS = 60.0
"""A process that ran this long starts again at the first delay."""


class Startable(Protocol):
    """A process that the supervisor can start."""

    @property
    def name(self) -> str:
        """Name in messages and log file names."""

    def start(self) -> Child:
        """Start it. Called again after each exit."""

    def is_ready(self) -> bool:
        """Probe it once and return whether it is usable."""


@dataclass
class _Supervised:
    startable: Startable
    child: Child
    failures: int = 0
    restart_at: float | None = None
    """On the monotonic clock; None while it runs."""


@dataclass
class Supervisor:
    """The running processes of one stack, in groups that are stopped in reverse order of their start."""

    echo: Callable[[str], None]
    _groups: list[list[_Supervised]] = field(default_factory=list)

    def start(self, startables: Sequence[Startable]) -> None:
        """Start a group concurrently and wait until all its processes are ready.

        Raises:
            StackError: one exited or is not ready within ``START_SECONDS``. Call :meth:`stop` to stop the others.
        """
        group: list[_Supervised] = []
        self._groups.append(group)
        for startable in startables:
            group.append(_Supervised(startable, startable.start()))  # noqa: PERF401 - if one fails, stop() must know the others
        deadline = time.monotonic() + START_SECONDS
        waiting = list(group)
        while waiting := [process for process in waiting if not _is_ready(process, deadline)]:
            time.sleep(READY_POLL_SECONDS)

    def watch(self) -> None:
        """Restart processes that exit, until an exception (such as a signal handler's) is raised."""
        while True:
            self.watch_once()
            time.sleep(WATCH_POLL_SECONDS)

    def watch_once(self) -> None:
        """Check every process once: report those that exited, and restart those whose delay is over."""
        for process in itertools.chain.from_iterable(self._groups):
            if process.restart_at is not None:
                _restart_if_due(process, process.restart_at)
            elif process.child.has_exited:
                self.echo(_plan_restart(process))

    def stop(self) -> None:
        """Stop all groups in order; kill what does not stop in time. Idempotent."""
        deadline = time.monotonic() + STOP_SECONDS
        while self._groups:
            group = self._groups.pop()
            killed = stop_all([process.child for process in group], deadline - RESERVED_SECONDS * len(self._groups))
            for name in killed:
                self.echo(f"{name} did not stop in time and was killed.")


def _is_ready(process: _Supervised, deadline: float) -> bool:
    child = process.child
    if child.has_exited:
        raise StackError(f"{child.name} exited during startup ({child.exit_status}); {child.describe_log()}")
    if process.startable.is_ready():
        return True
    if time.monotonic() > deadline:
        raise StackError(f"{child.name} was not ready within {START_SECONDS:.0f} s; {child.describe_log()}")
    return False


def _plan_restart(process: _Supervised) -> str:
    now = time.monotonic()
    if now - process.child.started_at > HEALTHY_SECONDS:
        process.failures = 0
    wait = BACKOFF_SECONDS[min(process.failures, len(BACKOFF_SECONDS) - 1)]
    process.failures += 1
    process.restart_at = now + wait
    child = process.child
    return f"{child.name} exited ({child.exit_status}); restarting it in {wait:g} s. Log: {child.log}"


def _restart_if_due(process: _Supervised, restart_at: float) -> None:
    if time.monotonic() >= restart_at:
        process.child = process.startable.start()
        process.restart_at = None
