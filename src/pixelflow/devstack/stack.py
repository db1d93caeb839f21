"""The embedded stack of one home: its servers, the settings that refer to them, and PixelFlow's processes.

Used by ``pixelflow up`` and the tests. It knows the names of PixelFlow's settings, never the code that it starts.
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
from pixelflow.devstack.errors import StackError
from pixelflow.devstack.home import ROLES, Home
from pixelflow.devstack.notifications import Notifications
from pixelflow.devstack.ports import LOOPBACK, ReservedPorts, listen
from pixelflow.devstack.postgres import Postgres
from pixelflow.devstack.processes import Child, spawn
from pixelflow.devstack.public_files import PublicFiles
from pixelflow.devstack.s3_server import S3Server
from pixelflow.devstack.supervisor import Supervisor
from pixelflow.devstack.valkey import Valkey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

DEFAULT_API_PORT = 8080
DEFAULT_METRICS_PORT = 9090
METRICS_FILE = "metrics.json"
"""URLs of the metrics of PixelFlow's processes."""
METRICS_ROLES = ("api", "worker", "controller")
"""In the order of their ports."""
SECRETS_KEY = "PIXELFLOW_SECRETS_KEY"
BUCKETS = "PIXELFLOW_BUCKETS"


@dataclass(frozen=True)
class Role:
    """A PixelFlow process."""

    name: str
    command: Sequence[str]
    ready_url: str | None = None
    """URL that answers 200 once the process is ready. A process with a URL inherits the API's listening socket, so that
    no other process can answer in its place. Without a URL and ``notifies``, a running process counts as ready."""
    notifies: bool = False
    """Whether the process reports its readiness itself, by sd_notify(3)."""


class Stack:
    """The stack of one home, from :meth:`open` to :meth:`stop`. As a context manager, it stops itself.

    Its processes can't outlive the thread that starts them.
    """

    def __init__(
        self,
        home: Home,
        listening: socket.socket,
        reserved: ReservedPorts,
        ports: Mapping[str, int],
        metrics_ports: Mapping[str, int],
        *,
        public_url: str | None,
        echo: Callable[[str], None],
    ) -> None:
        self.home = home
        self._metrics_ports = metrics_ports
        self._listening = listening
        self._reserved_ports = reserved
        self._ports = {**ports, "api": listening.getsockname()[1]}
        self._supervisor = Supervisor(echo)
        self._notifications: list[Notifications] = []
        self._postgres = Postgres(home, ports[Postgres.name])
        self._valkey = Valkey(home, ports[Valkey.name])
        self._s3 = S3Server(home, ports[S3Server.name])
        self._public_files = PublicFiles(home, ports[PublicFiles.name], public_url)

    @classmethod
    def open(
        cls,
        home: Path,
        *,
        api_port: int = DEFAULT_API_PORT,
        metrics_port: int | None = 0,
        public_url: str | None = None,
        echo: Callable[[str], None],
    ) -> Stack:
        """Prepare and lock the home, and choose ports. Starts no process.

        Args:
            home: a new or empty directory, or the home of an earlier run.
            api_port: port of the API; the next free one if it is busy; any free port if it is 0.
            metrics_port: port of the API's metrics; the worker and the controller use the next two. The next free ones
                if they are busy; any free ports if it is 0; no metrics if it is None.
            public_url: what the URLs of the bucket ``public`` begin with, also in later runs of this home. As in the
                run before if it is None; the address of its own web server if it is empty.
            echo: called with messages for the person at the terminal.

        Raises:
            StackError: the home can't be used or has a stack running in it, no port is free, or ``public_url`` has no
                effect, since the caller's environment names the buckets.
        """
        if public_url is not None and BUCKETS in os.environ:
            raise StackError(f"--public-url has no effect while {BUCKETS} is set: set public_base_url there.")
        with contextlib.ExitStack() as opened:
            locked = Home(home, servers_account())
            opened.callback(locked.close)
            listening = opened.enter_context(listen(api_port, echo=echo))
            reserved = opened.enter_context(ReservedPorts(echo))
            ports = reserved.choose(locked, (Postgres.name, Valkey.name, S3Server.name, PublicFiles.name))
            names = METRICS_ROLES if metrics_port is not None else ()
            metrics_ports = reserved.choose_next(metrics_port or 0, names)
            stack = cls(locked, listening, reserved, ports, metrics_ports, public_url=public_url, echo=echo)
            locked.write_json(METRICS_FILE, stack.metrics_urls)
            opened.pop_all()
            return stack

    @property
    def api_url(self) -> str:
        """URL of the API, which need not be running yet."""
        return f"http://{LOOPBACK}:{self._ports['api']}"

    @property
    def environment(self) -> dict[str, str]:
        """PixelFlow's settings for migrations, commands and tests: addresses, and credentials that own everything."""
        return {
            **self._own_settings,
            **self._postgres.environment,
            **self._valkey.environment,
            **self._s3.environment,
            SECRETS_KEY: self.home.secrets["secrets_key"],
        }

    def environment_of(self, role: str) -> dict[str, str]:
        """PixelFlow's settings for one of its processes, with the credentials of that process.

        Args:
            role: one of ``ROLES``. Others get :attr:`environment`.
        """
        if role not in ROLES:
            return self.environment
        settings = {
            **self._own_settings,
            **self._postgres.environment_of(role),
            **self._valkey.environment_of(role),
            **self._s3.environment_of(role),
        }
        return settings if role == "worker" else {**settings, SECRETS_KEY: self.home.secrets["secrets_key"]}

    @property
    def _own_settings(self) -> dict[str, str]:
        return {
            **{name: value for name, value in self._local_defaults.items() if name not in os.environ},
            "PIXELFLOW_API_HOST": LOOPBACK,
            "PIXELFLOW_API_PORT": str(self._ports["api"]),
            "PIXELFLOW_METRICS_ENABLED": str(bool(self._metrics_ports)).lower(),
            "PIXELFLOW_METRICS_HOST": LOOPBACK,
            "PIXELFLOW_METRICS_PORT": "0",  # for processes other than the roles
        }

    @property
    def _local_defaults(self) -> dict[str, str]:
        """Defaults that differ from production, since only this machine can reach the API. The environment wins."""
        return {
            "PIXELFLOW_RATE_LIMIT_ENABLED": "false",
            "PIXELFLOW_UPLOAD_LENGTH": "optional",
            "PIXELFLOW_URL_SOURCES": "true",
            # Receivers under development. Who sends them has a key, and so a process on this machine.
            "PIXELFLOW_WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8,::1/128",
            "PIXELFLOW_WEBHOOK_ALLOW_HTTP": "true",
            BUCKETS: self._public_files.buckets(self._s3.environment),
        }

    @property
    def metrics_urls(self) -> dict[str, str]:
        """URLs of the roles' metrics; the roles need not be running yet."""
        return {role: f"http://{LOOPBACK}:{port}/metrics" for role, port in self._metrics_ports.items()}

    @property
    def addresses(self) -> dict[str, str]:
        """Host and port of each server, without credentials."""
        return {name: f"{LOOPBACK}:{port}" for name, port in self._ports.items()}

    @property
    def public_url(self) -> str | None:
        """What the URLs of the bucket ``public`` begin with; None if the caller's environment names other buckets."""
        return None if BUCKETS in os.environ else self._public_files.url

    @property
    def is_new(self) -> bool:
        """Whether no database has been created in the home yet."""
        return self._postgres.is_new

    def start_servers(self) -> None:
        """Start Postgres, Valkey, the S3 server and the web server of its public bucket, with empty buckets.

        When it returns, they are ready.

        Raises:
            StackError: a server can't be started; the message includes the end of its log.
        """
        # Postgres last: it takes longest to create a new database, and the others start in the meantime.
        self._supervisor.start([self._valkey, self._s3, self._public_files, self._postgres])

    def start_processes(self, roles: Sequence[Role]) -> None:
        """Start PixelFlow's processes in the caller's environment, overridden by :meth:`environment_of`.

        Raises:
            StackError: a process exits again and again, or does not become ready; the message includes the end of its
                log.
        """
        self._supervisor.start([self._process(role) for role in roles])

    def _process(self, role: Role) -> _Process:
        notifications = Notifications()
        self._notifications.append(notifications)
        environment = self._process_environment(role)
        return _Process(self.home, role, environment, self._listening.fileno(), notifications)

    def check(self) -> None:
        """Check that no process has exited, for callers that don't :meth:`watch`.

        Raises:
            StackError: one has; the message includes the end of its log.
        """
        self._supervisor.check()

    def _process_environment(self, role: Role) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name != SECRETS_KEY}
        return {**inherited, **self.environment_of(role.name), **self._metrics_setting(role)}

    def _metrics_setting(self, role: Role) -> dict[str, str]:
        """Return the role's fixed port, so that its metrics stay at the same URL after a restart."""
        port = self._metrics_ports.get(role.name)
        return {} if port is None else {"PIXELFLOW_METRICS_PORT": str(port)}

    def watch(self) -> None:
        """Restart processes that exit, until an exception (such as a signal handler's) is raised.

        Raises:
            StackError: a process exits again and again; the message includes the end of its log.
        """
        self._supervisor.watch()

    def stop(self) -> None:
        """Stop PixelFlow's processes, then the servers, within 10 s, and release the home."""
        self._supervisor.stop()
        self._listening.close()
        self._reserved_ports.close()
        for notifications in self._notifications:
            notifications.close()
        self.home.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@dataclass(frozen=True)
class _Process:
    """A role with its environment, as the supervisor starts it."""

    home: Home
    role: Role
    environment: Mapping[str, str] = field(repr=False)
    api_socket: int
    notifications: Notifications

    @property
    def name(self) -> str:
        return self.role.name

    def start(self) -> Child:
        self.notifications.reset()
        if self.role.notifies:
            environment = {**self.environment, "NOTIFY_SOCKET": self.notifications.address}
            return spawn(self.home, self.name, self.role.command, environment=environment)
        if self.role.ready_url is None:
            return spawn(self.home, self.name, self.role.command, environment=self.environment)
        environment = {**self.environment, "PIXELFLOW_API_SOCKET": str(self.api_socket)}
        return spawn(self.home, self.name, self.role.command, environment=environment, pass_fds=[self.api_socket])

    def is_ready(self) -> bool:
        if self.role.notifies:
            return self.notifications.received()
        if self.role.ready_url is None:
            return True
        try:
            with urllib.request.urlopen(self.role.ready_url, timeout=2) as response:  # noqa: S310 - our own http URL
                return bool(response.status == http.client.OK)
        except (OSError, http.client.HTTPException):
            return False
