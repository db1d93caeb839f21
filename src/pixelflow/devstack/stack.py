"""The embedded stack of one home: its servers, what they are called in the environment, and processes beside them.

Both ``pixelflow up`` and the tests run it. Knows the names of settings that CONTRACTS fixes, and nothing else of what
it starts.
"""

from __future__ import annotations

import http.client
import os
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from pixelflow.devstack.account import servers_account
from pixelflow.devstack.home import Home
from pixelflow.devstack.objects import Objects
from pixelflow.devstack.ports import LOOPBACK, choose_ports
from pixelflow.devstack.postgres import Postgres
from pixelflow.devstack.processes import Child, spawn
from pixelflow.devstack.supervisor import Supervisor
from pixelflow.devstack.valkey import Valkey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

DEFAULT_API_PORT = 8080
CREDENTIALS = "credentials.json"


@dataclass(frozen=True)
class Role:
    """A process of PixelFlow's own."""

    name: str
    command: Sequence[str]
    ready_url: str | None = None
    """Answers 200 once the process can be used; None where being alive is enough."""


class Stack:
    """The stack of one home, from :meth:`open` to :meth:`stop`; a context manager that stops it.

    Its processes can't outlive the thread that starts them.
    """

    def __init__(self, home: Home, ports: Mapping[str, int], say: Callable[[str], None]) -> None:
        self.home = home
        self._ports = ports
        self._supervisor = Supervisor(say)
        self._postgres = Postgres(home, ports[Postgres.name])
        self._valkey = Valkey(home, ports[Valkey.name])
        self._objects = Objects(home, ports[Objects.name])

    @classmethod
    def open(cls, home: Path, *, api_port: int = DEFAULT_API_PORT, say: Callable[[str], None]) -> Stack:
        """Prepare and lock the home, and choose ports; starts nothing.

        Args:
            home: a new, an empty or an earlier home directory.
            api_port: what the API should listen on; the next free one is taken if it is busy.
            say: told, in sentences, what a person should know.

        Raises:
            StackError: the home can't be used, has a stack running in it, or no port is free.
        """
        opened = Home(home, servers_account())
        try:
            servers = (Postgres.name, Valkey.name, Objects.name)
            return cls(opened, choose_ports(opened, servers, api_port=api_port, say=say), say)
        except BaseException:
            opened.close()
            raise

    @property
    def api_url(self) -> str:
        """Where the API listens, or will."""
        return f"http://{LOOPBACK}:{self._ports['api']}"

    @property
    def environment(self) -> dict[str, str]:
        """The settings by which a process of PixelFlow finds the servers, and where the API is to listen."""
        return {
            **self._postgres.environment,
            **self._valkey.environment,
            **self._objects.environment,
            "PIXELFLOW_SECRETS_KEY": self.home.secrets["secrets_key"],
            "PIXELFLOW_API_HOST": LOOPBACK,
            "PIXELFLOW_API_PORT": str(self._ports["api"]),
        }

    @property
    def addresses(self) -> dict[str, str]:
        """Where each server listens, without its secrets."""
        return {name: f"{LOOPBACK}:{port}" for name, port in self._ports.items()}

    @property
    def is_new(self) -> bool:
        """Whether the home holds no database yet."""
        return self._postgres.is_new

    def start_servers(self) -> None:
        """Start Postgres, Valkey and the S3 server; they are usable, and the bucket is there, when it returns.

        Raises:
            StackError: one of them can't be started; the message has the end of its log.
        """
        # Postgres last: making a new database takes longest, and the others come up meanwhile.
        self._supervisor.start([self._valkey, self._objects, self._postgres])

    def start_processes(self, roles: Sequence[Role]) -> None:
        """Start PixelFlow's processes in the caller's own environment, overlaid by :attr:`environment`.

        Raises:
            StackError: one of them ended at once, or its URL does not answer; the message has the end of its log.
        """
        environment = {**os.environ, **self.environment}
        self._supervisor.start([_Process(self.home, role, environment) for role in roles])

    def watch(self) -> None:
        """Start again whatever dies, until an exception (such as a signal's) ends it."""
        self._supervisor.watch()

    def stop(self) -> None:
        """End PixelFlow's processes, then the servers, within 10 s, and let another stack use the home."""
        self._supervisor.stop()
        self.home.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@dataclass(frozen=True)
class _Process:
    """A role as the supervisor runs it."""

    home: Home
    role: Role
    environment: Mapping[str, str] = field(repr=False)

    @property
    def name(self) -> str:
        return self.role.name

    def start(self) -> Child:
        return spawn(self.home, self.name, self.role.command, environment=self.environment)

    def is_ready(self) -> bool:
        if self.role.ready_url is None:
            return True
        try:
            with urllib.request.urlopen(self.role.ready_url, timeout=2) as answer:  # noqa: S310 - our own http URL
                return bool(answer.status == http.client.OK)
        except (OSError, http.client.HTTPException):
            return False
