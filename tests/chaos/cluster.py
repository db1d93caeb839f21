"""A PixelFlow cluster in a temporary home: the servers, and several processes of each role.

It listens only on loopback. The processes end with the thread that starts them, so :meth:`Cluster.start` and
:meth:`Cluster.tick` must be called from the same thread.
"""

from __future__ import annotations

import http.client
import os
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.managed_process import ManagedProcess

from pixelflow.adapters.postgres.migrate import migrate
from pixelflow.devstack.account import servers_account
from pixelflow.devstack.home import Home
from pixelflow.devstack.ports import LOOPBACK, ReservedPorts
from pixelflow.devstack.postgres import Postgres
from pixelflow.devstack.processes import Child, spawn, stop_all
from pixelflow.devstack.s3_server import S3Server
from pixelflow.devstack.valkey import Valkey
from pixelflow.settings import PREFIX, Settings

READY_SECONDS = 60.0
STOP_SECONDS = 8.0
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Role:
    """A PixelFlow process, as ``pixelflow …`` starts it."""

    name: str
    command: str
    home: Home
    environment: Mapping[str, str]
    ready_url: str | None = None

    def start(self) -> Child:
        """Start it, with the log ``logs/{name}.log`` in the home."""
        command = [sys.executable, "-m", "pixelflow", self.command]
        return spawn(self.home, self.name, command, environment={**os.environ, **self.environment})

    def is_ready(self) -> bool:
        """Return whether its URL answers 200; True without a URL."""
        return self.ready_url is None or _answers(self.ready_url)


@dataclass
class Cluster:
    """All processes of the cluster."""

    home: Home
    ports: ReservedPorts
    environment: Mapping[str, str]
    """Settings as environment variables. They contain secrets."""
    postgres: ManagedProcess
    valkey: ManagedProcess
    s3: ManagedProcess
    apis: Sequence[ManagedProcess]
    controllers: Sequence[ManagedProcess]
    workers: Sequence[ManagedProcess]
    api_urls: Sequence[str]

    @property
    def settings(self) -> Settings:
        """The settings of the processes."""
        return Settings.model_validate(
            {name.removeprefix(PREFIX).lower(): value for name, value in self.environment.items()}
        )

    @property
    def servers(self) -> list[ManagedProcess]:
        """Postgres, Valkey and the S3 server."""
        return [self.postgres, self.valkey, self.s3]

    @property
    def roles(self) -> list[ManagedProcess]:
        """The PixelFlow processes."""
        return [*self.apis, *self.controllers, *self.workers]

    def start(self, *, without: Sequence[ManagedProcess] = ()) -> None:
        """Start the servers, then the PixelFlow processes, and wait until all are ready.

        Those in ``without`` are left out. Without a server, wait only until the APIs answer.
        """
        left_out = {process.name for process in without}
        servers = [process for process in self.servers if process.name not in left_out]
        roles = [process for process in self.roles if process.name not in left_out]
        _start(servers)
        migrate(self.environment["PIXELFLOW_DATABASE_URL"])
        if len(servers) == len(self.servers):
            _start(roles)
            return
        for process in roles:
            process.start()
        self.run_until(lambda: all(_answers(f"{url}/healthz") for url in self.api_urls), READY_SECONDS)

    def run_until(self, condition: Callable[[], object], seconds: float) -> float:
        """Restart the processes that are due, until the condition holds; return the seconds it took.

        Raises:
            TimeoutError: it does not hold within ``seconds``.
        """
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > seconds:
                raise TimeoutError(f"not within {seconds:g} s")
            self.tick()
            time.sleep(POLL_SECONDS)
        return time.monotonic() - began

    def run_for(self, seconds: float) -> None:
        """Restart the processes that are due, for so many seconds."""
        end = time.monotonic() + seconds
        self.run_until(lambda: time.monotonic() >= end, seconds * 2 + 1)

    def tick(self) -> None:
        """Restart the processes that are due."""
        for process in (*self.servers, *self.roles):
            process.tick()

    def stop(self) -> None:
        """Stop all processes; kill those that do not stop in time."""
        for group in (self.roles, self.servers):
            children = [process.child for process in group if process.child is not None]
            stop_all(children, time.monotonic() + STOP_SECONDS)
        self.ports.close()
        self.home.close()


def create_cluster(
    path: Path,
    *,
    settings: Mapping[str, str],
    apis: int = 1,
    controllers: int = 1,
    workers: int = 1,
    settings_of: Mapping[str, Mapping[str, str]] | None = None,
) -> Cluster:
    """Prepare a cluster in an empty directory. Starts no process.

    Args:
        path: see :func:`new_home`.
        settings: settings besides the servers' addresses, by environment variable.
        apis: how many.
        controllers: how many.
        workers: how many.
        settings_of: further settings of single processes, by name.
    """
    home = Home(path, servers_account())
    api_names = [f"api-{number}" for number in range(apis)]
    names = [Postgres.name, Valkey.name, S3Server.name, *api_names]
    reserved = ReservedPorts(lambda _: None)
    ports = reserved.choose(home, names)
    postgres, valkey = Postgres(home, ports[Postgres.name]), Valkey(home, ports[Valkey.name])
    objects = S3Server(home, ports[S3Server.name])
    scratch = path / "scratch"
    scratch.mkdir()
    servers = (postgres, valkey, objects)
    own_settings = {
        "PIXELFLOW_WORKER_TEMP_DIR": str(scratch),
        "PIXELFLOW_METRICS_PORT": "0",  # several processes of each role
        **settings,
    }
    secrets_key = {"PIXELFLOW_SECRETS_KEY": home.secrets["secrets_key"]}

    def role(name: str, command: str, port: int | None = None) -> ManagedProcess:
        credentials = {key: value for server in servers for key, value in server.environment_of(command).items()}
        environment = {**own_settings, **credentials, **({} if command == "worker" else secrets_key)}
        environment |= (settings_of or {}).get(name, {})
        if port is None:
            return ManagedProcess(Role(name, command, home, environment))
        own = {**environment, "PIXELFLOW_API_HOST": LOOPBACK, "PIXELFLOW_API_PORT": str(port)}
        return ManagedProcess(Role(name, command, home, own, ready_url=f"http://{LOOPBACK}:{port}/readyz"))

    return Cluster(
        home=home,
        ports=reserved,
        environment={**own_settings, **secrets_key, **{k: v for each in servers for k, v in each.environment.items()}},
        postgres=ManagedProcess(postgres),
        valkey=ManagedProcess(valkey),
        s3=ManagedProcess(objects),
        apis=[role(name, "api", ports[name]) for name in api_names],
        controllers=[role(f"controller-{number}", "controller") for number in range(controllers)],
        workers=[role(f"worker-{number}", "worker") for number in range(workers)],
        api_urls=[f"http://{LOOPBACK}:{ports[name]}" for name in api_names],
    )


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own http URL
            return bool(answer.status == http.client.OK)
    except (OSError, http.client.HTTPException):
        return False


def _start(processes: Iterable[ManagedProcess]) -> None:
    waiting = list(processes)
    for process in waiting:
        process.start()
    deadline = time.monotonic() + READY_SECONDS
    while waiting := [process for process in waiting if not process.startable.is_ready()]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not ready: {', '.join(process.name for process in waiting)}")
        time.sleep(POLL_SECONDS)


@contextmanager
def new_home() -> Iterator[Path]:
    """Create a temporary directory that an unprivileged server can enter; delete it afterwards."""
    path = Path(tempfile.mkdtemp(prefix="pixelflow-chaos-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
