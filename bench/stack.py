"""The test stack of the sections: real servers in a temporary home, PixelFlow's API and controller, and workers.

Rate limits are enabled, so that the figures include their cost, but high enough that no request is rejected.
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
from bench.processes import children_cpu, cpu_clock, tree_cpu
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
ROLES = ("api", "controller")
_STOP_SECONDS = 10.0
_START_SECONDS = 30.0
_POLL_SECONDS = 0.02
_PIN = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); os.execv(sys.argv[2], sys.argv[2:])"
"""Script that binds itself to a core and executes the command that follows."""


@dataclass(frozen=True)
class TestStack:
    """The servers, the API and the controller."""

    stack: Stack

    @cached_property
    def settings(self) -> Settings:
        """The settings of a PixelFlow process on this stack."""
        return Settings.model_validate(
            {name.removeprefix(PREFIX).lower(): value for name, value in self.stack.environment.items()}
        )

    @cached_property
    def key(self) -> str:
        """An API key."""
        return self.key_of("bench")

    def key_of(self, user_id: str, *, rate_limit: int | None = None) -> str:
        """Issue an API key of this user."""
        return issue_key(self.database_url, user_id=user_id, name="bench", rate_limit=rate_limit)

    @property
    def database_url(self) -> str:
        """URL of the database."""
        return database_url(self.stack)

    @property
    def api_url(self) -> str:
        """URL of the API."""
        return self.stack.api_url

    def servers_cpu(self) -> dict[str, float]:
        """Return the CPU seconds that each server has used so far."""
        return {name: tree_cpu(process_of(self.stack, name).pid) for name in SERVERS}

    def cpu(self, worker: Running) -> dict[str, float]:
        """Return the CPU seconds used so far: of the worker, its children, the API, the controller and each server."""
        of_worker = {"worker": cpu_clock(worker.pid), "children": children_cpu(worker.pid)}
        roles = {name: tree_cpu(process_of(self.stack, name).pid) for name in ROLES}
        return {**of_worker, **roles, **self.servers_cpu()}

    def versions(self) -> dict[str, str]:
        """Return the versions of the servers."""
        return server_versions(self.database_url, self.stack.environment["PIXELFLOW_REDIS_URL"])

    def start_roles(self, names: Sequence[str], *, core: int | None = None) -> None:
        """Start ``api`` or ``controller``, bound to one core if ``core`` is given."""
        prefix = [*pinning(core), _env(), *(f"{name}={value}" for name, value in SETTINGS.items())]
        roles = [role for role in pixelflow_roles(self.stack) if role.name in names]
        self.stack.start_processes([dataclasses.replace(role, command=[*prefix, *role.command]) for role in roles])

    @contextmanager
    def worker(
        self, *, slots: int, name: str = "worker", settings: Mapping[str, str] | None = None
    ) -> Iterator[Running]:
        """Run a worker with this many slots; stop it on exit."""
        own = {
            "PIXELFLOW_WORKER_MAX_ACTIVE_JOBS": str(slots),
            "PIXELFLOW_METRICS_PORT": "0",
            **(settings or {}),
        }
        with self.spawned(name, [sys.executable, "-m", "pixelflow", "worker"], own) as child:
            yield _wait_for_child(child)

    @contextmanager
    def spawned(
        self, name: str, command: Sequence[str], own: Mapping[str, str], pass_fds: Sequence[int] = ()
    ) -> Iterator[Child]:
        """Run a process in the stack's environment; stop it on exit."""
        environment = {**os.environ, **self.stack.environment, **SETTINGS, **own}
        child = spawn(self.stack.home, name, command, environment=environment, pass_fds=pass_fds)
        try:
            yield child
        finally:
            stop_all([child], time.monotonic() + _STOP_SECONDS)


@contextmanager
def servers() -> Iterator[TestStack]:
    """Run the servers, with a migrated database, and no PixelFlow process."""
    with servers_alone() as stack:
        yield TestStack(stack)


@contextmanager
def service() -> Iterator[TestStack]:
    """Run the servers, the API and the controller, but no worker."""
    with servers() as test_stack:
        test_stack.start_roles(ROLES)
        yield test_stack


def pinning(core: int | None) -> list[str]:
    """Return a command prefix that binds a command to this core."""
    return [] if core is None else [sys.executable, "-I", "-S", "-c", _PIN, str(core)]


def _env() -> str:
    found = shutil.which("env")
    if found is None:
        raise BenchError("the program `env` was not found")
    return found


def _wait_for_child(child: Child) -> Running:
    """Wait until the worker has a child, which it starts just before it consumes messages."""
    deadline = time.monotonic() + _START_SECONDS
    while not child.has_exited and time.monotonic() < deadline:
        processes = descendants(os.getpid())
        if any(process.parent == child.pid for process in processes):
            return next(process for process in processes if process.pid == child.pid)
        time.sleep(_POLL_SECONDS)
    raise BenchError(f"the worker did not start; {child.describe_log()}")
