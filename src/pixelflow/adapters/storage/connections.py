"""Blocking HTTP connections to one server, which another thread can end at any moment, and a pool of them."""

from __future__ import annotations

import email.message
import http.client
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

CONNECT_SECONDS = 5.0
STALL_SECONDS = 30.0
"""Longest time without a byte in either direction."""
MAX_IDLE = 32
"""Idle connections that are kept."""
_IDLE_SECONDS = 20.0
"""Servers close idle connections; the usual limits are 60 s and more."""
KEPT_METADATA = ("x-amz-meta-pixelflow-job", "x-amz-meta-pixelflow-sha256")
"""Headers of user metadata that responses keep."""
_MAX_HEADERS = 100
_MAX_LINE_BYTES = 64 * 1024


class InterruptibleResponse(http.client.HTTPResponse):
    """A response whose headers are read without the parser for e-mail, which takes longer than the rest of a request.

    A body ends by its length or, as those of S3's errors, by its chunks; else with the connection.
    """

    def begin(self) -> None:
        """Read the status and the headers."""
        status = http.client.CONTINUE
        while status == http.client.CONTINUE:
            version, status, reason = self._read_status()  # type: ignore[attr-defined]  # not in typeshed
            headers = self._read_headers()
        self.version = 11 if version == "HTTP/1.1" else 10
        self.code = self.status = status
        self.reason = reason.strip()
        self.headers = self.msg = email.message.Message()  # type: ignore[assignment]  # others are never read
        if etag := headers.get(b"etag", b"").decode("latin-1").strip('"'):
            self.headers["ETag"] = etag
        if modified := headers.get(b"last-modified", b"").decode("latin-1"):
            self.headers["Last-Modified"] = modified
        for name in KEPT_METADATA:
            if kept := headers.get(name.encode()):
                self.headers[name] = kept.decode("latin-1")
        self.chunked = headers.get(b"transfer-encoding", b"").lower() == b"chunked"
        self.chunk_left = None
        length = headers.get(b"content-length", b"")
        self.length = int(length) if length.isdigit() and b"transfer-encoding" not in headers else None
        persists = self.version == 11 and headers.get(b"connection", b"").lower() != b"close"  # noqa: PLR2004
        self.will_close = not persists or (self.length is None and not self.chunked)

    def _read_headers(self) -> dict[bytes, bytes]:
        headers: dict[bytes, bytes] = {}
        for _ in range(_MAX_HEADERS):
            line = self.fp.readline(_MAX_LINE_BYTES)
            if line in {b"\r\n", b"\n"}:
                return headers
            name, colon, value = line.partition(b":")
            if not colon or not line.endswith(b"\n"):
                break
            headers[name.strip().lower()] = value.strip()
        raise http.client.HTTPException("invalid headers")


class Connection(http.client.HTTPConnection):
    """A connection that another thread can end at any moment, even while it is being established."""

    response_class = InterruptibleResponse

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        super().__init__(host, port, timeout=CONNECT_SECONDS)
        self._context = context
        self._lock = threading.Lock()
        self._current: socket.socket | None = None
        self._ended = False
        self.used_at: float | None = None
        """When its latest transfer ended, on the monotonic clock."""

    def connect(self) -> None:
        """Connect to the first address that accepts the connection."""
        failure = OSError("the host has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM):
            try:
                self.sock = self._connected(socket.socket(family, kind, protocol), address)
            except OSError as error:
                failure = error
            else:
                self.sock.settimeout(STALL_SECONDS)
                return
        raise failure

    def _connected(self, raw: socket.socket, address: Any) -> socket.socket:  # noqa: ANN401  # depends on the family
        try:
            self._watch(raw)
            raw.settimeout(CONNECT_SECONDS)
            raw.connect(address)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is None:
                return raw
            secure = self._context.wrap_socket(raw, server_hostname=self.host, do_handshake_on_connect=False)
        except BaseException:
            raw.close()
            raise
        try:
            self._watch(secure)  # the raw socket has no descriptor any more
            secure.do_handshake()
        except BaseException:
            secure.close()
            raise
        return secure

    def _watch(self, sock: socket.socket) -> None:
        with self._lock:
            self._current = sock
            if self._ended:
                raise ConnectionAbortedError

    def end(self) -> None:
        """End the request in progress, if any. Thread-safe."""
        with self._lock:
            self._ended = True
            if self._current is not None:
                with suppress(OSError):  # `SSLSocket.shutdown` would confuse the thread that reads
                    socket.socket.shutdown(self._current, socket.SHUT_RDWR)


class ConnectionPool:
    """Idle connections to one server. Thread-safe."""

    def __init__(self, endpoint: str) -> None:
        """Does not connect yet."""
        parts = urlsplit(endpoint)
        self.tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self.tls else 80)
        self._idle: list[Connection] = []
        self._lock = threading.Lock()

    def __del__(self) -> None:
        self.close()

    def take(self) -> Connection:
        """Return the connection that became idle last, or a new one, which is not connected yet."""
        oldest = time.monotonic() - _IDLE_SECONDS
        with self._lock:
            while self._idle:
                connection = self._idle.pop()
                if connection.used_at is not None and connection.used_at > oldest:
                    return connection
                connection.close()
        return Connection(self._host, self._port, self.tls)

    def keep(self, connection: Connection) -> None:
        """Take back a connection whose response has been read, unless the server closes it."""
        connection.used_at = time.monotonic()
        if connection.sock is not None:
            with self._lock:
                if len(self._idle) < MAX_IDLE:
                    self._idle.append(connection)
                    return
        connection.close()

    def close(self) -> None:
        """Close idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
