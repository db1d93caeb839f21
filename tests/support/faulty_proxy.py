"""A TCP proxy before a real server that can delay, refuse or hang, and change from one moment to the next."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum

_READ_BYTES = 256 * 1024
_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Fault(Enum):
    """What the proxy does with data of a client."""

    NONE = "none"
    REFUSE = "refuse"
    """Answers 503."""
    RESET = "reset"
    """Closes the connection."""
    HANG = "hang"
    """Neither answers nor closes."""


class FaultyProxy:
    """A running proxy."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.fault = Fault.NONE
        self.round_trip_seconds = 0.0
        """Added to each connection and each request."""
        self.requests = 0
        self._target = target
        self._stopped = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._listening.getsockname()[1]}"

    def close(self) -> None:
        """Stop, and release what hangs."""
        self._stopped.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        time.sleep(self.round_trip_seconds)
        with client, suppress(OSError), socket.create_connection(self._target) as server:
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answered = threading.Event()
            answered.set()
            threading.Thread(target=self._send_back, args=(server, client, answered), daemon=True).start()
            while data := client.recv(_READ_BYTES):
                if answered.is_set():
                    answered.clear()
                    self.requests += 1
                    time.sleep(self.round_trip_seconds)
                if not self._pass(client):
                    return
                server.sendall(data)

    def _pass(self, client: socket.socket) -> bool:
        if self.fault is Fault.REFUSE:
            client.sendall(_UNAVAILABLE)
        while self.fault is Fault.HANG and not self._stopped.wait(0.02):
            pass
        return self.fault is Fault.NONE

    def _send_back(self, server: socket.socket, client: socket.socket, answered: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(_READ_BYTES):
                answered.set()
                if self.fault is Fault.HANG:
                    self._stopped.wait()
                client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


@contextmanager
def faulty_proxy(target: tuple[str, int]) -> Iterator[FaultyProxy]:
    """A proxy before ``target`` while the context lasts."""
    with contextlib.closing(FaultyProxy(target)) as proxy:
        yield proxy
