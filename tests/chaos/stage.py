"""The processes of one PixelFlow in a home of its own: the servers, and several of each of its own processes.

Listens on nothing but loopback. All is started from the thread that calls :meth:`Stage.start` and :meth:`Stage.tick`,
whose end is theirs: both belong to one thread.
"""

from __future__ import annotations

import http.client
import os
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.actor import Actor

from pixelflow.adapters.postgres.migrate import migrate
from pixelflow.devstack.account import servers_account
from pixelflow.devstack.home import Home
from pixelflow.devstack.ports import LOOPBACK, choose_ports
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
    """One process of PixelFlow's own, as ``pixelflow …`` starts it."""

    name: str
    command: str
    home: Home
    environment: Mapping[str, str]
    ready_url: str | None = None

    def start(self) -> Child:
        """Start it; its log is ``logs/{name}.log`` of the home."""
        command = [sys.executable, "-m", "pixelflow", self.command]
        return spawn(self.home, self.name, command, environment={**os.environ, **self.environment})

    def is_ready(self) -> bool:
        """Whether it answers, where it can be asked."""
        if self.ready_url is None:
            return True
        try:
            with urllib.request.urlopen(self.ready_url, timeout=2) as answer:  # noqa: S310 - our own http URL
                return bool(answer.status == http.client.OK)
        except (OSError, http.client.HTTPException):
            return False


@dataclass
class Stage:
    """All of them."""

    home: Home
    environment: Mapping[str, str]
    """The settings, as environment variables; secret."""
    postgres: Actor
    valkey: Actor
    s3: Actor
    apis: Sequence[Actor]
    controllers: Sequence[Actor]
    workers: Sequence[Actor]
    api_urls: Sequence[str]

    @property
    def settings(self) -> Settings:
        """What the processes are configured by."""
        return Settings.model_validate(
            {name.removeprefix(PREFIX).lower(): value for name, value in self.environment.items()}
        )

    @property
    def servers(self) -> list[Actor]:
        """What PixelFlow stands on."""
        return [self.postgres, self.valkey, self.s3]

    @property
    def roles(self) -> list[Actor]:
        """PixelFlow's own."""
        return [*self.apis, *self.controllers, *self.workers]

    def start(self) -> None:
        """Start the servers, then the rest; all of it can be used when this returns."""
        _start(self.servers)
        migrate(self.environment["PIXELFLOW_DATABASE_URL"])
        _start(self.roles)

    def tick(self) -> None:
        """Start again what died and is due."""
        for actor in (*self.servers, *self.roles):
            actor.tick()

    def stop(self) -> None:
        """End everything: in order where it can, by force where it must."""
        for group in (self.roles, self.servers):
            children = [actor.child for actor in group if actor.child is not None]
            stop_all(children, time.monotonic() + STOP_SECONDS)
        self.home.close()


def set_stage(
    path: Path, *, settings: Mapping[str, str], apis: int = 1, controllers: int = 1, workers: int = 1
) -> Stage:
    """Prepare a stage in an empty directory; starts nothing.

    Args:
        path: see :func:`new_home`.
        settings: what to configure beside the servers' addresses, by the names of environment variables.
        apis: how many.
        controllers: how many.
        workers: how many.
    """
    home = Home(path, servers_account())
    api_names = [f"api-{number}" for number in range(apis)]
    names = [Postgres.name, Valkey.name, S3Server.name, *api_names]
    ports = choose_ports(home, names, echo=lambda _: None)
    postgres, valkey = Postgres(home, ports[Postgres.name]), Valkey(home, ports[Valkey.name])
    objects = S3Server(home, ports[S3Server.name])
    scratch = path / "scratch"
    scratch.mkdir()
    environment = {
        **postgres.environment,
        **valkey.environment,
        **objects.environment,
        "PIXELFLOW_SECRETS_KEY": home.secrets["secrets_key"],
        "PIXELFLOW_WORKER_TEMP_DIR": str(scratch),
        "PIXELFLOW_METRICS_PORT": "0",  # several of each role beside one another
        **settings,
    }

    def role(name: str, command: str, port: int | None = None) -> Actor:
        if port is None:
            return Actor(Role(name, command, home, environment))
        own = {**environment, "PIXELFLOW_API_HOST": LOOPBACK, "PIXELFLOW_API_PORT": str(port)}
        return Actor(Role(name, command, home, own, ready_url=f"http://{LOOPBACK}:{port}/readyz"))

    return Stage(
        home=home,
        environment=environment,
        postgres=Actor(postgres),
        valkey=Actor(valkey),
        s3=Actor(objects),
        apis=[role(name, "api", ports[name]) for name in api_names],
        controllers=[role(f"controller-{number}", "controller") for number in range(controllers)],
        workers=[role(f"worker-{number}", "worker") for number in range(workers)],
        api_urls=[f"http://{LOOPBACK}:{ports[name]}" for name in api_names],
    )


def _start(actors: Iterable[Actor]) -> None:
    waiting = list(actors)
    for actor in waiting:
        actor.start()
    deadline = time.monotonic() + READY_SECONDS
    while waiting := [actor for actor in waiting if not actor.startable.is_ready()]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not ready: {', '.join(actor.name for actor in waiting)}")
        time.sleep(POLL_SECONDS)


@contextmanager
def new_home() -> Iterator[Path]:
    """A directory that servers which gave up root can enter; gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="pixelflow-chaos-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
