"""Fault injection: one function per kind of fault, with its undo where it has one.

It never blocks: :meth:`FaultInjector.tick` undoes timed faults later.
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
from tests.chaos.cluster import Cluster
from tests.chaos.evidence import open_database
from tests.chaos.managed_process import ManagedProcess
from tests.chaos.plan import KILLS, Fault, FaultKind

CUT_SECONDS = 20.0
PAUSE_BEYOND_LEASE_SECONDS = 3.0
AGAIN_SECONDS = 0.3
"""Delay before a fault without a running target is tried again."""
STARTED = b"worker started"
"""Before this log line, a worker treats the death of its first child as a broken installation, and exits."""
CHILD = b"pixelflow.dataplane.child"


def children_of(pid: int) -> list[int]:
    """Return the transform children of a worker, running ones first. Their template is a child of the worker."""
    everybody = list(Path("/proc").glob("[0-9]*"))
    templates = [int(process.name) for process in everybody if _is_child_of(process, pid)]
    mine = [process for process in everybody if any(_is_child_of(process, template) for template in templates)]
    return [int(process.name) for process in sorted(mine, key=_is_idle)]


def _is_child_of(process: Path, pid: int) -> bool:
    try:
        parent = int(_status(process)[1])
        return parent == pid and CHILD in (process / "cmdline").read_bytes()
    except OSError:  # it has exited
        return False


def _is_idle(process: Path) -> bool:
    try:
        return _status(process)[0] != "R"
    except OSError:
        return True


def _status(process: Path) -> list[str]:
    """Return the fields from the state on (proc_pid_stat(5)); the name before them may contain anything."""
    return (process / "stat").read_text().rpartition(")")[2].split()


@dataclass
class FaultInjector:
    """Injects the faults of a plan when they are due."""

    cluster: Cluster
    faults: Sequence[Fault]
    lease_seconds: float
    done: Counter[FaultKind] = field(default_factory=Counter)
    _due: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: itertools.count[int] = field(default_factory=itertools.count)

    def begin(self) -> None:
        """Start the clock of the plan."""
        for fault in self.faults:
            self._later(fault.at, lambda fault=fault: self._commit(fault))  # type: ignore[misc]

    @property
    def is_over(self) -> bool:
        """Whether all faults have been injected and undone."""
        return not self._due

    @property
    def kills(self) -> int:
        """Number of processes killed so far."""
        return sum(count for kind, count in self.done.items() if kind in KILLS)

    def tick(self) -> None:
        """Run the due actions."""
        while self._due and self._due[0][0] <= time.monotonic():
            heapq.heappop(self._due)[2]()

    def undo(self) -> None:
        """Undo all faults now and inject no more."""
        self.faults = ()
        for process in (*self.cluster.servers, *self.cluster.roles):
            for outage in process.outages:
                if outage.ended is None:
                    process.resume(outage.pid)
        self._due.clear()

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), action))

    def _commit(self, fault: Fault) -> None:
        if self._happens(fault):
            self.done[fault.kind] += 1
        else:
            self._later(AGAIN_SECONDS, lambda: self._commit(fault))

    def _happens(self, fault: Fault) -> bool:  # one line per kind
        cluster, down = self.cluster, fault.down_seconds
        actions: dict[FaultKind, Callable[[], bool]] = {
            FaultKind.KILL_WORKER: lambda: _pick(cluster.workers, fault).kill(down_seconds=down),
            FaultKind.KILL_CHILD: lambda: _kill_child(_pick(cluster.workers, fault)),
            FaultKind.KILL_API: lambda: _pick(cluster.apis, fault).kill(down_seconds=down),
            FaultKind.KILL_CONTROLLER: lambda: _pick(cluster.controllers, fault).kill(down_seconds=down),
            FaultKind.KILL_VALKEY: lambda: cluster.valkey.kill(down_seconds=down),
            FaultKind.KILL_VALKEY_DATA: lambda: self._lose_valkey(down),
            FaultKind.KILL_POSTGRES: lambda: cluster.postgres.kill(down_seconds=down),
            FaultKind.KILL_S3: lambda: cluster.s3.kill(down_seconds=down),
            FaultKind.CUT_S3: lambda: cluster.s3.kill(down_seconds=CUT_SECONDS),
            FaultKind.FREEZE_S3: lambda: self._pause(cluster.s3, CUT_SECONDS),
            FaultKind.PAUSE_WORKER: lambda: self._pause(_pick(cluster.workers, fault), self._past_lease),
            FaultKind.PAUSE_CONTROLLER: lambda: self._pause(_pick(cluster.controllers, fault), self._past_lease),
            FaultKind.EXPIRE_LEASES: lambda: _expire_leases(cluster),
            FaultKind.FLUSH_VALKEY: lambda: _flush(cluster),
            FaultKind.STOP_WORKER: lambda: _pick(cluster.workers, fault).request_stop(down_seconds=down),
        }
        return actions[fault.kind]()

    @property
    def _past_lease(self) -> float:
        return self.lease_seconds + PAUSE_BEYOND_LEASE_SECONDS

    def _pause(self, process: ManagedProcess, seconds: float) -> bool:
        pid = process.pause()
        if pid is None:
            return False
        self._later(seconds, lambda: process.resume(pid))
        return True

    def _lose_valkey(self, down_seconds: float) -> bool:
        if not self.cluster.valkey.kill(down_seconds=down_seconds):
            return False
        shutil.rmtree(self.cluster.home.path / "valkey" / "appendonlydir", ignore_errors=True)
        return True


def _pick(processes: Sequence[ManagedProcess], fault: Fault) -> ManagedProcess:
    return processes[int(fault.choice * len(processes))]


def _kill_child(worker: ManagedProcess) -> bool:
    pid = worker.pid
    children = children_of(pid) if pid is not None else []
    if not children or not worker.has_logged(STARTED):
        return False
    os.kill(children[0], signal.SIGKILL)
    return True


def _expire_leases(cluster: Cluster) -> bool:
    try:
        with open_database(cluster) as connection:
            connection.execute("UPDATE job_queue SET lease_until = now() - interval '1 second' WHERE state = 'active'")
    except psycopg.OperationalError:
        return False
    return True


def _flush(cluster: Cluster) -> bool:
    client = redis.Redis.from_url(cluster.environment["PIXELFLOW_REDIS_URL"], socket_timeout=2)
    try:
        client.flushall()
    except redis.RedisError:
        return False
    finally:
        client.close()
    return True
