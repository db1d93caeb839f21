"""A webhook receiver on a real socket: sends configured replies and records the requests."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Reply:
    """The reply to one request."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    hangs: bool = False
    """Send no response until the receiver is closed or releases it."""


@dataclass(frozen=True)
class Received:
    """A received request."""

    path: str
    headers: dict[str, str]
    """By lowercase name."""
    body: bytes
    client: str
    """The client's address."""


class Receiver:
    """Sends ``replies`` one after the other, and repeats the last one."""

    def __init__(self, replies: Sequence[Reply], address: str, tls: ssl.SSLContext | None) -> None:
        self.received: list[Received] = []
        self._replies = replies
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer((address, 0), self._handler())
        self._server.daemon_threads = True
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.host, self.port = address, self._server.server_port
        self.url = f"{'https' if tls else 'http'}://{address}:{self.port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Close the connections of requests that hang, now and later, without a response."""
        self._closing.set()

    def close(self) -> None:
        """Release pending requests and stop listening."""
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _next(self, received: Received) -> Reply:
        with self._lock:
            self.received.append(received)
            return self._replies[min(len(self.received), len(self._replies)) - 1]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                headers = {name.lower(): value for name, value in self.headers.items()}
                reply = receiver._next(Received(self.path, headers, body, self.client_address[0]))
                if reply.hangs:
                    receiver._closing.wait(120)
                    return
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            do_GET = do_POST  # noqa: N815  # the standard library's naming

            def log_message(self, *_: object) -> None:
                """Log nothing."""

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:  # the client disconnected, or does not trust the certificate
                    return

        return Handler


@contextmanager
def receiving(*replies: Reply, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Run a receiver."""
    receiver = Receiver(replies or (Reply(),), address, tls)
    try:
        yield receiver
    finally:
        receiver.close()
