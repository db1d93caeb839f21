"""What goes wrong: one function per kind of fault, each with its undoing where it has one.

Never waits: what takes time is undone later, by :meth:`Trouble.tick`.
"""

from __future__ import annotations

import heapq
import itertools
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import redis
from tests.chaos.actor import Actor
from tests.chaos.evidence import open_database
from tests.chaos.plan import KILLS, Fault, FaultKind
from tests.chaos.stage import Stage

CUT_SECONDS = 20.0
PAUSE_BEYOND_LEASE_SECONDS = 3.0
AGAIN_SECONDS = 0.3
"""What finds no living target is tried again after this."""
STARTED = b"worker started"
"""Before that, a worker takes the death of its very first child for a broken installation, says so and ends."""
CHILD = b"pixelflow.dataplane.child"


def children_of(pid: int) -> list[int]:
    """The transform children of a worker, those that compute first; their template is a child of the worker."""
    everybody = list(Path("/proc").glob("[0-9]*"))
    templates = [int(process.name) for process in everybody if _is_child_of(process, pid)]
    mine = [process for process in everybody if any(_is_child_of(process, template) for template in templates)]
    return [int(process.name) for process in sorted(mine, key=_is_idle)]


def _is_child_of(process: Path, pid: int) -> bool:
    try:
        parent = int(_status(process)[1])
        return parent == pid and CHILD in (process / "cmdline").read_bytes()
    except OSError:  # it ended meanwhile
        return False


def _is_idle(process: Path) -> bool:
    try:
        return _status(process)[0] != "R"
    except OSError:
        return True


def _status(process: Path) -> list[str]:
    """State, parent and so on (proc_pid_stat(5)); the name before them may hold anything."""
    return (process / "stat").read_text().rpartition(")")[2].split()


@dataclass
class Trouble:
    """Makes the faults of a plan happen when they are due."""

    stage: Stage
    faults: Sequence[Fault]
    lease_seconds: float
    done: Counter[FaultKind] = field(default_factory=Counter)
    _due: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: itertools.count[int] = field(default_factory=itertools.count)

    def begin(self) -> None:
        """Now is the plan's second 0."""
        for fault in self.faults:
            self._later(fault.at, lambda fault=fault: self._commit(fault))  # type: ignore[misc]

    @property
    def is_over(self) -> bool:
        """Whether everything has happened and is undone."""
        return not self._due

    @property
    def kills(self) -> int:
        """How many processes were killed by now."""
        return sum(count for kind, count in self.done.items() if kind in KILLS)

    def tick(self) -> None:
        """Do what is due."""
        while self._due and self._due[0][0] <= time.monotonic():
            heapq.heappop(self._due)[2]()

    def undo(self) -> None:
        """Do at once all that is still to come, but for new faults."""
        self.faults = ()
        for actor in (*self.stage.servers, *self.stage.roles):
            for outage in actor.outages:
                if outage.ended is None:
                    actor.resume(outage.pid)
        self._due.clear()

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), action))

    def _commit(self, fault: Fault) -> None:
        if self._happens(fault):
            self.done[fault.kind] += 1
        else:
            self._later(AGAIN_SECONDS, lambda: self._commit(fault))

    def _happens(self, fault: Fault) -> bool:  # one line per kind
        stage, down = self.stage, fault.down_seconds
        actions: dict[FaultKind, Callable[[], bool]] = {
            FaultKind.KILL_WORKER: lambda: _pick(stage.workers, fault).kill(down_seconds=down),
            FaultKind.KILL_CHILD: lambda: _kill_child(_pick(stage.workers, fault)),
            FaultKind.KILL_API: lambda: _pick(stage.apis, fault).kill(down_seconds=down),
            FaultKind.KILL_CONTROLLER: lambda: _pick(stage.controllers, fault).kill(down_seconds=down),
            FaultKind.KILL_VALKEY: lambda: stage.valkey.kill(down_seconds=down),
            FaultKind.KILL_VALKEY_DATA: lambda: self._lose_valkey(down),
            FaultKind.KILL_POSTGRES: lambda: stage.postgres.kill(down_seconds=down),
            FaultKind.KILL_S3: lambda: stage.s3.kill(down_seconds=down),
            FaultKind.CUT_S3: lambda: stage.s3.kill(down_seconds=CUT_SECONDS),
            FaultKind.FREEZE_S3: lambda: self._pause(stage.s3, CUT_SECONDS),
            FaultKind.PAUSE_WORKER: lambda: self._pause(_pick(stage.workers, fault), self._past_lease),
            FaultKind.PAUSE_CONTROLLER: lambda: self._pause(_pick(stage.controllers, fault), self._past_lease),
            FaultKind.EXPIRE_LEASES: lambda: _expire_leases(stage),
            FaultKind.FLUSH_VALKEY: lambda: _flush(stage),
            FaultKind.STOP_WORKER: lambda: _pick(stage.workers, fault).ask_to_end(down_seconds=down),
        }
        return actions[fault.kind]()

    @property
    def _past_lease(self) -> float:
        return self.lease_seconds + PAUSE_BEYOND_LEASE_SECONDS

    def _pause(self, actor: Actor, seconds: float) -> bool:
        pid = actor.pause()
        if pid is None:
            return False
        self._later(seconds, lambda: actor.resume(pid))
        return True

    def _lose_valkey(self, down_seconds: float) -> bool:
        if not self.stage.valkey.kill(down_seconds=down_seconds):
            return False
        shutil.rmtree(self.stage.home.path / "valkey" / "appendonlydir", ignore_errors=True)
        return True


def _pick(actors: Sequence[Actor], fault: Fault) -> Actor:
    return actors[int(fault.choice * len(actors))]


def _kill_child(worker: Actor) -> bool:
    pid = worker.pid
    children = children_of(pid) if pid is not None else []
    if not children or not worker.has_said(STARTED):
        return False
    os.kill(children[0], signal.SIGKILL)
    return True


def _expire_leases(stage: Stage) -> bool:
    try:
        with open_database(stage) as connection:
            connection.execute("UPDATE jobs SET lease_until = now() - interval '1 second' WHERE status = 'processing'")
    except psycopg.OperationalError:
        return False
    return True


def _flush(stage: Stage) -> bool:
    client = redis.Redis.from_url(stage.environment["PIXELFLOW_REDIS_URL"], socket_timeout=2)
    try:
        client.flushall()
    except redis.RedisError:
        return False
    finally:
        client.close()
    return True
