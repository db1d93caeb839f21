"""Starts processes, waits until they are ready, restarts those that die, and ends all of them in time.

Knows nothing of what the processes are. However much they resist, their end never takes longer than ``STOP_SECONDS``.
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
"""An orderly end takes at most this long, so that all of ``pixelflow up`` is over within 10 s."""
RESERVED_SECONDS = 3.0
"""What a group that won't end must leave of that to each group that is ended after it."""
READY_POLL_SECONDS = 0.01
WATCH_POLL_SECONDS = 0.1
BACKOFF_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""The wait before each restart in a row; the last one stays."""
HEALTHY_SECONDS = 60.0
"""A process that lived this long starts counting anew."""


class Startable(Protocol):
    """A kind of process that the supervisor can run."""

    @property
    def name(self) -> str:
        """What it is called in messages and logs."""

    def start(self) -> Child:
        """Start it; called again after each of its deaths."""

    def is_ready(self) -> bool:
        """Try once, really, whether it can be used."""


@dataclass
class _Watched:
    startable: Startable
    child: Child
    failures: int = 0
    restart_at: float | None = None
    """On the monotonic clock; None while it lives."""


@dataclass
class Supervisor:
    """The living processes of one stack, in groups that are ended in the reverse order of their start."""

    say: Callable[[str], None]
    _groups: list[list[_Watched]] = field(default_factory=list)

    def start(self, startables: Sequence[Startable]) -> None:
        """Start a group at once, and wait until all of it is ready.

        Raises:
            StackError: one ended, or is not ready in ``START_SECONDS``. What was started is left to :meth:`stop`.
        """
        group: list[_Watched] = []
        self._groups.append(group)
        for startable in startables:
            group.append(_Watched(startable, startable.start()))  # noqa: PERF401 - if one fails, the others are known
        deadline = time.monotonic() + START_SECONDS
        waiting = list(group)
        while waiting := [watched for watched in waiting if not _is_ready(watched, deadline)]:
            time.sleep(READY_POLL_SECONDS)

    def watch(self) -> None:
        """Restart what dies, until an exception (such as a signal's) ends it."""
        while True:
            self.watch_once()
            time.sleep(WATCH_POLL_SECONDS)

    def watch_once(self) -> None:
        """Look at every process; say which died, and start again those whose wait is over."""
        for watched in itertools.chain.from_iterable(self._groups):
            if watched.restart_at is not None:
                _restart_if_due(watched, watched.restart_at)
            elif watched.child.ended:
                self.say(_plan_restart(watched))

    def stop(self) -> None:
        """End everything in order, by force where asking does not help. Harmless when repeated."""
        deadline = time.monotonic() + STOP_SECONDS
        while self._groups:
            group = self._groups.pop()
            stubborn = stop_all([watched.child for watched in group], deadline - RESERVED_SECONDS * len(self._groups))
            for name in stubborn:
                self.say(f"{name} did not end when asked and was killed.")


def _is_ready(watched: _Watched, deadline: float) -> bool:
    child = watched.child
    if child.ended:
        raise StackError(f"{child.name} ended at its start ({child.how_it_ended}); {child.describe_log()}")
    if watched.startable.is_ready():
        return True
    if time.monotonic() > deadline:
        raise StackError(f"{child.name} was not ready in {START_SECONDS:.0f} s; {child.describe_log()}")
    return False


def _plan_restart(watched: _Watched) -> str:
    now = time.monotonic()
    if now - watched.child.started_at > HEALTHY_SECONDS:
        watched.failures = 0
    wait = BACKOFF_SECONDS[min(watched.failures, len(BACKOFF_SECONDS) - 1)]
    watched.failures += 1
    watched.restart_at = now + wait
    child = watched.child
    return f"{child.name} ended ({child.how_it_ended}); it starts again in {wait:g} s. Its log: {child.log}"


def _restart_if_due(watched: _Watched, restart_at: float) -> None:
    if time.monotonic() >= restart_at:
        watched.child = watched.startable.start()
        watched.restart_at = None
