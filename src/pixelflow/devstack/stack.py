"""The embedded stack of one home: its servers, what they are called in the environment, and processes beside them.

Both ``pixelflow up`` and the tests run it. Knows the names of settings that CONTRACTS fixes, and nothing else of what
it starts.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from pixelflow.devstack.account import servers_account
from pixelflow.devstack.home import Home
from pixelflow.devstack.objects import Objects
from pixelflow.devstack.ports import LOOPBACK, choose_ports, listen, next_ports
from pixelflow.devstack.postgres import Postgres
from pixelflow.devstack.processes import Child, spawn
from pixelflow.devstack.supervisor import Supervisor
from pixelflow.devstack.valkey import Valkey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

DEFAULT_API_PORT = 8080
DEFAULT_METRICS_PORT = 9090
METRICS = "metrics.json"
"""Where each process of PixelFlow's own tells its metrics."""
TELL_METRICS = ("api", "worker", "controller")
"""By the order of their ports."""
_OF_ONE_PERSON = {"PIXELFLOW_RATE_LIMIT_ENABLED": "false"}
"""Settings that are other than elsewhere, unless the caller's environment has them: nobody else can reach this API."""


@dataclass(frozen=True)
class Role:
    """A process of PixelFlow's own."""

    name: str
    command: Sequence[str]
    ready_url: str | None = None
    """Answers 200 once the process can be used; None where being alive is enough. A process that has one is handed the
    socket on which the API listens, so that nobody else's can answer."""


class Stack:
    """The stack of one home, from :meth:`open` to :meth:`stop`; a context manager that stops it.

    Its processes can't outlive the thread that starts them.
    """

    def __init__(
        self,
        home: Home,
        listening: socket.socket,
        ports: Mapping[str, int],
        metrics_ports: Mapping[str, int],
        *,
        say: Callable[[str], None],
    ) -> None:
        self.home = home
        self._metrics_ports = metrics_ports
        self._listening = listening
        self._ports = {**ports, "api": listening.getsockname()[1]}
        self._supervisor = Supervisor(say)
        self._postgres = Postgres(home, ports[Postgres.name])
        self._valkey = Valkey(home, ports[Valkey.name])
        self._objects = Objects(home, ports[Objects.name])

    @classmethod
    def open(
        cls,
        home: Path,
        *,
        api_port: int = DEFAULT_API_PORT,
        metrics_port: int | None = 0,
        say: Callable[[str], None],
    ) -> Stack:
        """Prepare and lock the home, and choose ports; starts nothing.

        Args:
            home: a new, an empty or an earlier home directory.
            api_port: what the API should listen on; the next free one is taken if it is busy, any if it is 0.
            metrics_port: where the API should tell its metrics, the worker one further on, the controller another;
                the next free ones are taken if they are busy, any for 0; None: nobody tells any.
            say: told, in sentences, what a person should know.

        Raises:
            StackError: the home can't be used, has a stack running in it, or no port is free.
        """
        with contextlib.ExitStack() as opened:
            locked = Home(home, servers_account())
            opened.callback(locked.close)
            listening = opened.enter_context(listen(api_port, say=say))
            ports = choose_ports(locked, (Postgres.name, Valkey.name, Objects.name), say=say)
            names = TELL_METRICS if metrics_port is not None else ()
            metrics_ports = next_ports(metrics_port or 0, names, say=say)
            stack = cls(locked, listening, ports, metrics_ports, say=say)
            locked.write(METRICS, stack.metrics_urls)
            opened.pop_all()
            return stack

    @property
    def api_url(self) -> str:
        """Where the API listens, or will."""
        return f"http://{LOOPBACK}:{self._ports['api']}"

    @property
    def environment(self) -> dict[str, str]:
        """The settings by which a process of PixelFlow finds the servers, and where the API is to listen."""
        return {
            **{name: value for name, value in _OF_ONE_PERSON.items() if name not in os.environ},
            **self._postgres.environment,
            **self._valkey.environment,
            **self._objects.environment,
            "PIXELFLOW_SECRETS_KEY": self.home.secrets["secrets_key"],
            "PIXELFLOW_API_HOST": LOOPBACK,
            "PIXELFLOW_API_PORT": str(self._ports["api"]),
            "PIXELFLOW_METRICS_ENABLED": str(bool(self._metrics_ports)).lower(),
            "PIXELFLOW_METRICS_HOST": LOOPBACK,
            "PIXELFLOW_METRICS_PORT": "0",  # whatever is started beside the roles takes nobody's
        }

    @property
    def metrics_urls(self) -> dict[str, str]:
        """Where each role tells its metrics, or will."""
        return {role: f"http://{LOOPBACK}:{port}/metrics" for role, port in self._metrics_ports.items()}

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
        self._supervisor.start(
            [_Process(self.home, role, environment | self._own_port(role), self._listening.fileno()) for role in roles]
        )

    def _own_port(self, role: Role) -> dict[str, str]:
        """The same at every start, so that whoever asks for its metrics finds it again."""
        port = self._metrics_ports.get(role.name)
        return {} if port is None else {"PIXELFLOW_METRICS_PORT": str(port)}

    def watch(self) -> None:
        """Start again whatever dies, until an exception (such as a signal's) ends it."""
        self._supervisor.watch()

    def stop(self) -> None:
        """End PixelFlow's processes, then the servers, within 10 s, and let another stack use the home."""
        self._supervisor.stop()
        self._listening.close()
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
    api_socket: int

    @property
    def name(self) -> str:
        return self.role.name

    def start(self) -> Child:
        if self.role.ready_url is None:
            return spawn(self.home, self.name, self.role.command, environment=self.environment)
        environment = {**self.environment, "PIXELFLOW_API_SOCKET": str(self.api_socket)}
        return spawn(self.home, self.name, self.role.command, environment=environment, inherits=[self.api_socket])

    def is_ready(self) -> bool:
        if self.role.ready_url is None:
            return True
        try:
            with urllib.request.urlopen(self.role.ready_url, timeout=2) as answer:  # noqa: S310 - our own http URL
                return bool(answer.status == http.client.OK)
        except (OSError, http.client.HTTPException):
            return False
