"""The receiving side of sd_notify(3): a process sends a datagram to a socket of its supervisor when it is ready."""

from __future__ import annotations

import secrets
import socket

READY = "READY=1"
MAX_BYTES = 4096


class Notifications:
    """A socket at an abstract address, which is no file. Any process of this machine can send to it."""

    def __init__(self) -> None:
        name = f"pixelflow-{secrets.token_hex(16)}"
        self.address = f"@{name}"
        """For the environment variable ``NOTIFY_SOCKET``."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(f"\0{name}")

    def reset(self) -> None:
        """Discard what an earlier process sent."""
        while self._receive() is not None:
            pass

    def received(self) -> bool:
        """Whether the process has reported that it is ready."""
        while (message := self._receive()) is not None:
            if READY in message.splitlines():
                return True
        return False

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._socket.close()

    def _receive(self) -> str | None:
        try:
            return self._socket.recv(MAX_BYTES).decode(errors="replace")
        except BlockingIOError:
            return None
