"""Process supervisor: starts processes, waits until they are ready, restarts those that exit, and stops all of them.

It knows nothing about the programs it runs. A process that exits is restarted a limited number of times. Stopping never
takes longer than ``STOP_SECONDS``, even if processes ignore their signals.
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
"""Delays before consecutive restarts; there are no more restarts than delays."""
START_ATTEMPTS = 3
"""A process may exit during its start because another one took its port: after a moment, it is free again."""
CONFIGURATION_ERROR = "exit code 78"
"""As sysexits.h(3head): another start would fail, too."""
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
            StackError: one exited ``START_ATTEMPTS`` times, or is not ready within ``START_SECONDS``. Call :meth:`stop`
                to stop the others.
        """
        group: list[_Supervised] = []
        self._groups.append(group)
        for startable in startables:
            group.append(_Supervised(startable, startable.start()))  # noqa: PERF401 - if one fails, stop() must know the others
        deadline = time.monotonic() + START_SECONDS
        waiting = list(group)
        while waiting := [process for process in waiting if not self._is_ready(process, deadline)]:
            time.sleep(READY_POLL_SECONDS)

    def _is_ready(self, process: _Supervised, deadline: float) -> bool:
        child = process.child
        if process.restart_at is not None:
            _restart_if_due(process, process.restart_at)
            return False
        if child.has_exited:
            if process.failures + 1 >= START_ATTEMPTS or child.exit_status == CONFIGURATION_ERROR:
                raise _failure(process, "exited during startup")
            self.echo(_plan_restart(process))
            return False
        if process.startable.is_ready():
            return True
        if time.monotonic() > deadline:
            raise StackError(f"{child.name} was not ready within {START_SECONDS:.0f} s; {child.describe_log()}")
        return False

    def watch(self) -> None:
        """Restart processes that exit, until an exception (such as a signal handler's) is raised.

        Raises:
            StackError: a process exited once more after the last delay.
        """
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

    def check(self) -> None:
        """Check every process once, without restarting any.

        Raises:
            StackError: one has exited.
        """
        for process in itertools.chain.from_iterable(self._groups):
            if process.child.has_exited:
                raise _failure(process, "exited")

    def stop(self) -> None:
        """Stop all groups in order; kill what does not stop in time. Idempotent."""
        deadline = time.monotonic() + STOP_SECONDS
        while self._groups:
            self.stop_last(deadline - RESERVED_SECONDS * (len(self._groups) - 1))

    def stop_last(self, deadline: float) -> None:
        """Stop the group that was started last, also if it did not become ready; kill what runs at ``deadline``."""
        for name in stop_all([process.child for process in self._groups.pop()], deadline):
            self.echo(f"{name} did not stop in time and was killed.")


def _failure(process: _Supervised, what: str) -> StackError:
    child = process.child
    return StackError(f"{child.name} {what} ({child.exit_status}); {child.describe_log()}")


def _plan_restart(process: _Supervised) -> str:
    now = time.monotonic()
    if now - process.child.started_at > HEALTHY_SECONDS:
        process.failures = 0
    if process.failures == len(BACKOFF_SECONDS):
        raise _failure(process, f"exited {process.failures + 1} times within {HEALTHY_SECONDS:.0f} s of a start")
    wait = BACKOFF_SECONDS[process.failures]
    process.failures += 1
    process.restart_at = now + wait
    child = process.child
    return f"{child.name} exited ({child.exit_status}); restarting it in {wait:g} s. Log: {child.log}"


def _restart_if_due(process: _Supervised, restart_at: float) -> None:
    if time.monotonic() >= restart_at:
        process.child = process.startable.start()
        process.restart_at = None
