"""Blocking transfers of whole objects over S3's HTTP interface, for the threads of a worker.

A download goes from the socket through one reused buffer into the file, and is hashed on the way; an upload goes from
its file to the socket. Any transfer can be ended from another thread at any moment, also while it connects or stalls.
Errors never contain a URL, a header or the server's text.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any, BinaryIO, TypeVar
from urllib.parse import quote, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from pixelflow.adapters.storage.interrupts import Interrupts, never
from pixelflow.contracts.errors import ObjectsUnavailableError, SourceGoneError, SourceOverLimitError

CONNECT_SECONDS = 5.0
STALL_SECONDS = 30.0
"""Longest time without a byte in either direction."""
MIN_BYTES_PER_SECOND = 250_000
"""Slower transfers are aborted."""
ATTEMPTS = 3
RETRY_SECONDS = 10.0
"""No further attempt of a request begins after this time."""
MAX_IDLE = 32
"""Idle connections that are kept."""
_IDLE_SECONDS = 20.0
"""Servers close idle connections; the usual limits are 60 s and more."""
_FIRST_PAUSE_SECONDS = 0.1
_BUFFER_BYTES = 256 * 1024
_UNSIGNED = "UNSIGNED-PAYLOAD"
_EMPTY_SHA256 = hashlib.sha256().hexdigest()
_FIRST_SERVER_ERROR = 500
_RETRYABLE = {http.client.REQUEST_TIMEOUT, http.client.TOO_MANY_REQUESTS}

_T = TypeVar("_T")


class _TransferError(Exception):
    """One attempt failed."""

    def __init__(self, *, status: int | None = None, stale: bool = False) -> None:
        super().__init__(f"status {status}" if status else "no response")
        self.status = status
        self.stale = stale
        """Whether the server closed the connection, which it may have done before the request."""

    @property
    def again(self) -> bool:
        """Whether another attempt may succeed."""
        return self.status is None or self.status >= _FIRST_SERVER_ERROR or self.status in _RETRYABLE


class _FileError(Exception):
    """The file of a transfer can't be read or written; the cause is the ``OSError``."""


class _Connection(http.client.HTTPConnection):
    """A connection that another thread can end at any moment, even while it is being established."""

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
        """End whatever the connection is doing. Thread-safe."""
        with self._lock:
            self._ended = True
            if self._current is not None:
                with suppress(OSError):  # `SSLSocket.shutdown` would confuse the thread that reads
                    socket.socket.shutdown(self._current, socket.SHUT_RDWR)


class _Signer(S3SigV4Auth):  # type: ignore[misc]  # botocore is not typed
    """Signs with the given hash of the body: botocore would read the body once more to compute it."""

    def payload(self, request: AWSRequest) -> str:
        sha256: str = request.context["sha256"]
        return sha256


class S3Transfers:
    """Transfers to and from one bucket. Thread-safe; connections are reused."""

    def __init__(self, endpoint: str, *, bucket: str, region: str, credentials: Credentials) -> None:
        """Does not connect yet."""
        parts = urlsplit(endpoint)
        self._context = ssl.create_default_context() if parts.scheme == "https" else None
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._context else 80)
        self._root = f"{endpoint}/{bucket}"
        self._path = f"{parts.path}/{bucket}"
        self._signer = _Signer(credentials, "s3", region)
        self._idle: list[_Connection] = []
        self._lock = threading.Lock()
        self._buffers = threading.local()

    def get(self, key: str, file: BinaryIO, *, max_bytes: int, interrupts: Interrupts = never) -> tuple[int, str]:
        """Copy an object into ``file``, an empty unbuffered one; returns its size in bytes and its SHA-256 (hex).

        Raises:
            SourceGoneError: the object does not exist.
            SourceOverLimitError: the object is larger than ``max_bytes``.
            ObjectsUnavailableError: the server does not answer, or the transfer was ended.
            OSError: the file can't be written.
        """

        def receive(connection: _Connection) -> tuple[int, str]:
            with _file_errors():
                if file.tell():  # written by an attempt that failed
                    file.seek(0)
                    file.truncate()
            response = self._send(connection, "GET", key, {}, sha256=_EMPTY_SHA256)
            size = _content_length(response)
            if size > max_bytes:
                raise SourceOverLimitError(f"The source has {size} bytes; the limit is {max_bytes}")
            return size, self._receive(response, size, file)

        try:
            return self._transfer(receive, interrupts)
        except _TransferError as error:
            if error.status == http.client.NOT_FOUND:
                raise SourceGoneError("The source is no longer in object storage; create a new job") from None
            raise _unavailable() from error

    def put(
        self, key: str, file: IO[bytes], *, media_type: str, sha256: str | None = None, interrupts: Interrupts = never
    ) -> None:
        """Store an open file, from its start, as the object ``key``, atomically.

        Args:
            key: of the object.
            file: the content; seekable.
            media_type: of the object.
            sha256: of the content, in hex, if known: the server then refuses a content that differs.
            interrupts: registers what ends the transfer.

        Raises:
            ObjectsUnavailableError: the server does not answer, or the transfer was ended.
        """
        size = file.seek(0, io.SEEK_END)
        headers = {"Content-Length": str(size), "Content-Type": media_type}

        def send(connection: _Connection) -> None:
            response = self._send(connection, "PUT", key, headers, sha256=sha256 or _UNSIGNED, body=(file, size))
            response.read()

        try:
            self._transfer(send, interrupts)
        except _TransferError as error:
            raise _unavailable() from error

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    # ── Attempts ─────────────────────────────────────────────────────────────────────────────────

    def _transfer(self, work: Callable[[_Connection], _T], interrupts: Interrupts) -> _T:
        """Make up to ``ATTEMPTS`` attempts; those on idle connections that the server had closed do not count."""
        ended, give_up = threading.Event(), time.monotonic() + RETRY_SECONDS
        failures = 0
        while True:
            connection = self._take_connection()
            try:
                return self._attempt(work, connection, interrupts, ended)
            except _FileError as error:
                raise error.__cause__ or error from None
            except _TransferError as error:
                if ended.is_set():
                    raise
                if error.stale and connection.used_at is not None:
                    continue
                failures += 1
                pause = _FIRST_PAUSE_SECONDS * 4.0 ** (failures - 1) * random.uniform(0.5, 1)  # noqa: S311
                if not error.again or failures >= ATTEMPTS or time.monotonic() + pause > give_up:
                    raise
                with interrupts(ended.set):
                    ended.wait(pause)

    def _attempt(
        self, work: Callable[[_Connection], _T], connection: _Connection, interrupts: Interrupts, ended: threading.Event
    ) -> _T:
        def end() -> None:
            ended.set()
            connection.end()

        try:
            with interrupts(end):
                result = work(connection)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
            connection.close()
            raise _TransferError(stale=True) from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _TransferError from error
        except BaseException:
            connection.close()
            raise
        self._keep(connection, ended)
        return result

    def _send(
        self,
        connection: _Connection,
        method: str,
        key: str,
        headers: Mapping[str, str],
        *,
        sha256: str,
        body: tuple[IO[bytes], int] | None = None,
    ) -> http.client.HTTPResponse:
        path = quote(key)
        request = AWSRequest(method=method, url=f"{self._root}/{path}", headers=headers)
        request.context["sha256"] = sha256
        self._signer.add_auth(request)
        connection.putrequest(method, f"{self._path}/{path}", skip_accept_encoding=True)
        for name, value in request.headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        if body:
            self._send_body(connection, *body)
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise _TransferError(status=response.status)
        return response

    def _send_body(self, connection: _Connection, file: IO[bytes], size: int) -> None:
        buffer, deadline, left = self._buffer(), _deadline(size), size
        with _file_errors():
            file.seek(0)
        while left:
            with _file_errors():
                count = file.readinto(buffer)  # type: ignore[attr-defined]  # every binary file has it
            if not count:
                raise _FileError from OSError("the file became shorter")
            connection.sock.sendall(buffer[:count])
            left -= count
            _check_speed(deadline)

    def _receive(self, response: http.client.HTTPResponse, size: int, file: BinaryIO) -> str:
        buffer, digest, deadline, left = self._buffer(), hashlib.sha256(), _deadline(size), size
        while left:
            count = response.readinto(buffer)
            if not count:
                raise http.client.IncompleteRead(b"", left)
            part = buffer[:count]
            digest.update(part)
            with _file_errors():
                _write_all(file, part)
            left -= count
            _check_speed(deadline)
        response.read()  # ends the response, so that the connection can be used again
        return digest.hexdigest()

    def _buffer(self) -> memoryview:
        """The buffer of this thread."""
        found: memoryview | None = getattr(self._buffers, "buffer", None)
        if found is None:
            found = self._buffers.buffer = memoryview(bytearray(_BUFFER_BYTES))
        return found

    # ── Connections ──────────────────────────────────────────────────────────────────────────────

    def _take_connection(self) -> _Connection:
        oldest = time.monotonic() - _IDLE_SECONDS
        with self._lock:
            while self._idle:
                connection = self._idle.pop()
                if connection.used_at is not None and connection.used_at > oldest:
                    return connection
                connection.close()
        return _Connection(self._host, self._port, self._context)

    def _keep(self, connection: _Connection, ended: threading.Event) -> None:
        connection.used_at = time.monotonic()
        if connection.sock is not None and not ended.is_set():
            with self._lock:
                if len(self._idle) < MAX_IDLE:
                    self._idle.append(connection)
                    return
        connection.close()


def _content_length(response: http.client.HTTPResponse) -> int:
    if response.length is None:
        raise http.client.HTTPException("no Content-Length")
    return response.length


def _write_all(file: BinaryIO, part: memoryview) -> None:
    while part:
        part = part[file.write(part) :]


def _deadline(size: int) -> float:
    return time.monotonic() + STALL_SECONDS + size / MIN_BYTES_PER_SECOND


def _check_speed(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise TimeoutError


@contextmanager
def _file_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _FileError from error


def _unavailable() -> ObjectsUnavailableError:
    return ObjectsUnavailableError("Object storage is not available; try again shortly")
