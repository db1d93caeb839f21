"""The server of a stranger, from which sources are fetched: it may send anything, at any pace, or nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

Page = bytes | Callable[[socket.socket, "ImageServer"], None]
"""A whole response, or a function that sends one."""


def response(body: bytes = b"", status: str = "200 OK", *, length: int | None = -1, **headers: str) -> bytes:
    """Return a response; ``length``: the announced one, ``None``: none. An underscore in a header is a hyphen."""
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    if length is not None:
        lines.append(f"Content-Length: {len(body) if length == -1 else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    """Return a redirect."""
    return response(status=status, Location=location)


class ImageServer:
    """Sends the page of each path; of several, one after the other, the last again and again."""

    def __init__(self, pages: Mapping[str, Page | list[Page]]) -> None:
        self.pages = {path: page if isinstance(page, list) else [page] for path, page in pages.items()}
        self.requests: list[bytes] = []
        """The heads of all requests."""
        self.open = 0
        """Requests that are being answered."""
        self.most_open = 0
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listening.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End all responses, and stop listening."""
        self.closing.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def count(self, path: str) -> int:
        """Return how often a path was requested."""
        return sum(request.startswith(f"GET {path} ".encode()) for request in self.requests)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                if not (received := connection.recv(4096)):
                    return  # the client has given up
                head += received
            with self._lock:
                self.requests.append(head)
                page = self._next(head.split(b" ")[1].decode().partition("?")[0])
                self.open += 1
                self.most_open = max(self.most_open, self.open)
            try:
                if callable(page):
                    page(connection, self)
                else:
                    connection.sendall(page)
            finally:
                with self._lock:
                    self.open -= 1

    def _next(self, path: str) -> Page:
        pages = self.pages.get(path, [response(b"not here", "404 Not Found")])
        return pages.pop(0) if len(pages) > 1 else pages[0]


@contextmanager
def serving(pages: Mapping[str, Page | list[Page]]) -> Iterator[ImageServer]:
    """A running server."""
    server = ImageServer(pages)
    try:
        yield server
    finally:
        server.close()


def silent(connection: socket.socket, server: ImageServer) -> None:
    """Send nothing until the client closes the connection."""
    connection.settimeout(0.05)
    while not server.closing.is_set():
        with suppress(TimeoutError):
            if not connection.recv(4096):
                return


def dripping(connection: socket.socket, server: ImageServer) -> None:
    """Send a byte now and then, of a body that would take for ever."""
    connection.sendall(response(length=50_000))
    while not server.closing.wait(0.02):
        connection.sendall(b"x")


def endless(connection: socket.socket, server: ImageServer) -> None:
    """Send chunks without end."""
    connection.sendall(response(length=None, Transfer_Encoding="chunked"))
    while not server.closing.is_set():
        connection.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")


def chunked(body: bytes) -> bytes:
    """Return a response whose length is not announced."""
    head = response(length=None, Transfer_Encoding="chunked")
    return head + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
