"""What the sections stand on: real servers in a home that goes away, PixelFlow's API and controller, and workers.

Rate limits are on, so that their cost is in what is measured, and wide, so that nothing is refused.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from tests.acceptance.running import Running, database_url, descendants, process_of, servers_alone

from bench.figures import BenchError
from bench.machine import server_versions
from bench.processes import family_cpu
from pixelflow.controlplane.keys.admin import issue_key
from pixelflow.devstack.processes import Child, spawn, stop_all
from pixelflow.devstack.stack import Stack
from pixelflow.devstack.up import pixelflow_roles
from pixelflow.settings import PREFIX, Settings

SETTINGS = {
    "PIXELFLOW_RATE_LIMIT_ENABLED": "true",
    "PIXELFLOW_RATE_LIMIT_CAPACITY": "1000000",
    "PIXELFLOW_LOG_FORMAT": "json",
}
SERVERS = ("postgres", "valkey", "s3")
_STOP_SECONDS = 10.0
_START_SECONDS = 30.0
_POLL_SECONDS = 0.02
_PIN = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); os.execv(sys.argv[2], sys.argv[2:])"
"""Run by an interpreter of its own: binds itself to a core, and becomes the command that follows."""


@dataclass(frozen=True)
class Stand:
    """The servers, the API and the controller."""

    stack: Stack

    @cached_property
    def settings(self) -> Settings:
        """Of a process beside them."""
        return Settings.model_validate(
            {name.removeprefix(PREFIX).lower(): value for name, value in self.stack.environment.items()}
        )

    @cached_property
    def key(self) -> str:
        """An API key."""
        return issue_key(self.database_url, user_id="bench", name="bench")

    @property
    def database_url(self) -> str:
        """Where the jobs are kept."""
        return database_url(self.stack)

    @property
    def api_url(self) -> str:
        """Where the API listens."""
        return self.stack.api_url

    def servers_cpu(self) -> dict[str, float]:
        """Seconds of processor time that each server has used so far."""
        return {name: family_cpu(process_of(self.stack, name).pid) for name in SERVERS}

    def versions(self) -> dict[str, str]:
        """Of the servers."""
        return server_versions(self.database_url, self.stack.environment["PIXELFLOW_REDIS_URL"])

    def start_roles(self, names: Sequence[str], *, core: int | None = None) -> None:
        """Start ``api`` or ``controller``; bound to one core, if one is given."""
        prefix = [*pinning(core), _env(), *(f"{name}={value}" for name, value in SETTINGS.items())]
        roles = [role for role in pixelflow_roles(self.stack) if role.name in names]
        self.stack.start_processes([dataclasses.replace(role, command=[*prefix, *role.command]) for role in roles])

    @contextmanager
    def worker(self, *, slots: int, name: str = "worker") -> Iterator[Running]:
        """A worker with so many slots, stopped on the way out."""
        own = {
            "PIXELFLOW_WORKER_MAX_ACTIVE_JOBS": str(slots),
            "PIXELFLOW_METRICS_PORT": "0",
        }
        with self.spawned(name, [sys.executable, "-m", "pixelflow", "worker"], own) as child:
            yield _with_child(child)

    @contextmanager
    def spawned(
        self, name: str, command: Sequence[str], own: Mapping[str, str], inherits: Sequence[int] = ()
    ) -> Iterator[Child]:
        """A process in the stack's environment, stopped on the way out."""
        environment = {**os.environ, **self.stack.environment, **SETTINGS, **own}
        child = spawn(self.stack.home, name, command, environment=environment, inherits=inherits)
        try:
            yield child
        finally:
            stop_all([child], time.monotonic() + _STOP_SECONDS)


@contextmanager
def servers() -> Iterator[Stand]:
    """The servers, migrated; nothing else runs yet."""
    with servers_alone() as stack:
        yield Stand(stack)


@contextmanager
def service() -> Iterator[Stand]:
    """The servers, the API and the controller; no worker."""
    with servers() as stand:
        stand.start_roles(["api", "controller"])
        yield stand


def pinning(core: int | None) -> list[str]:
    """What to put before a command so that it runs on that core alone."""
    return [] if core is None else [sys.executable, "-I", "-S", "-c", _PIN, str(core)]


def _env() -> str:
    found = shutil.which("env")
    if found is None:
        raise BenchError("there is no program `env`")
    return found


def _with_child(child: Child) -> Running:
    """The worker, once it has a child: the last thing it does before it takes messages."""
    deadline = time.monotonic() + _START_SECONDS
    while not child.ended and time.monotonic() < deadline:
        family = descendants(os.getpid())
        if any(process.parent == child.pid for process in family):
            return next(process for process in family if process.pid == child.pid)
        time.sleep(_POLL_SECONDS)
    raise BenchError(f"the worker did not start; {child.describe_log()}")
