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
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, BinaryIO, TypeVar
from urllib.parse import quote, urlsplit

from pixelflow.adapters.storage.connections import STALL_SECONDS, Connection, ConnectionPool
from pixelflow.adapters.storage.interrupts import Interrupts, Reserve, never, unlimited
from pixelflow.adapters.storage.signatures import EMPTY_SHA256, UNSIGNED_PAYLOAD, NoAccessKeyError, Signer
from pixelflow.adapters.storage.versions import conditions, response_version
from pixelflow.errors import (
    ObjectsUnavailableError,
    SourceChangedError,
    SourceGoneError,
    SourceOverLimitError,
)

MIN_BYTES_PER_SECOND = 250_000
"""Slower transfers are aborted."""
ATTEMPTS = 3
RETRY_SECONDS = 10.0
"""No further attempt of a request begins after this time."""
_FIRST_PAUSE_SECONDS = 0.1
_BUFFER_BYTES = 256 * 1024
_FIRST_SERVER_ERROR = 500
NO_SUCH_KEY = "NoSuchKey"
"""The server said that the object does not exist. A missing bucket or a proxy gives 404, too."""
_CODE = re.compile(rb"<Code>([A-Za-z]{1,64})</Code>")
_MAX_ERROR_BYTES = 64 * 1024
_RETRYABLE = {http.client.REQUEST_TIMEOUT, http.client.TOO_MANY_REQUESTS}

_T = TypeVar("_T")


class ObjectTransferError(Exception):
    """One attempt failed."""

    def __init__(self, *, status: int | None = None, code: str = "", stale: bool = False) -> None:
        super().__init__(f"status {status} {code}" if status else "no response")
        self.status = status
        self.code = code
        """S3's error code. Empty if the response has none, as to a HEAD request and by a proxy."""
        self.stale = stale
        """Whether the server closed the connection, which it may have done before the request."""

    @property
    def again(self) -> bool:
        """Whether another attempt may succeed."""
        return self.status is None or self.status >= _FIRST_SERVER_ERROR or self.status in _RETRYABLE


class _FileError(Exception):
    """The file of a transfer can't be read or written; the cause is the ``OSError``."""


class S3Transfers:
    """Transfers to and from one bucket. Thread-safe; connections are reused."""

    def __init__(self, endpoint: str, *, root: str, signer: Signer) -> None:
        """Does not connect yet.

        Args:
            endpoint: of the server.
            root: what the path of an object has before its key, such as ``/bucket/``.
            signer: for the same endpoint.
        """
        self._connections = ConnectionPool(endpoint)
        self._endpoint_path = urlsplit(endpoint).path
        self._root = root
        self._signer = signer
        self._buffers = threading.local()

    def get(
        self,
        key: str,
        file: BinaryIO,
        *,
        max_bytes: int,
        version: str = "",
        reserve: Reserve = unlimited,
        interrupts: Interrupts = never,
    ) -> tuple[int, str]:
        """Copy an object into ``file``, an empty unbuffered one; returns its size in bytes and its SHA-256 (hex).

        Calls ``reserve`` with the size before it receives the content; an error that it raises ends the transfer.

        Raises:
            SourceGoneError: the object does not exist.
            SourceChangedError: it has another version than ``version``; empty: any.
            SourceOverLimitError: the object is larger than ``max_bytes``.
            ObjectsUnavailableError: the server does not answer, or the transfer was ended.
            OSError: the file can't be written.
        """
        try:
            return self.receive_file(
                key, file, max_bytes=max_bytes, version=version, reserve=reserve, interrupts=interrupts
            )
        except ObjectTransferError as error:
            if error.code == NO_SUCH_KEY:
                raise SourceGoneError("The source is no longer in object storage; create a new job") from None
            raise _unavailable() from error

    def receive_file(
        self,
        key: str,
        file: BinaryIO,
        *,
        max_bytes: int,
        version: str,
        reserve: Reserve,
        interrupts: Interrupts,
        on_version: Callable[[str], object] = lambda _: None,
    ) -> tuple[int, str]:
        """As :meth:`get`, with the server's reason if it refuses.

        Calls ``on_version`` with the object's version before it receives the content; an error ends the transfer.

        Raises:
            ObjectTransferError: the server refuses it or does not answer, or the transfer was ended.
        """

        def receive(connection: Connection) -> tuple[int, str]:
            with _file_errors():
                if file.tell():  # written by an attempt that failed
                    file.seek(0)
                    file.truncate()
            with self._send(connection, "GET", key, conditions(version), sha256=EMPTY_SHA256) as response:
                found = response_version(response, version)
                if version and found != version:
                    raise _changed()
                size = _content_length(response)
                if size > max_bytes:
                    raise SourceOverLimitError(f"The source has {size} bytes; the limit is {max_bytes}")
                reserve(size)
                on_version(found)
                return size, self._receive(response, size, file)

        try:
            return self._transfer(receive, interrupts)
        except ObjectTransferError as error:
            if error.status == http.client.PRECONDITION_FAILED:
                raise _changed() from None
            raise

    def put(
        self,
        key: str,
        file: IO[bytes],
        headers: Mapping[str, str],
        *,
        sha256: str | None = None,
        interrupts: Interrupts = never,
    ) -> None:
        """Store an open file, from its start, as the object ``key``, atomically.

        Args:
            key: of the object.
            file: the content; seekable.
            headers: of the request.
            sha256: of the content, in hex, if known: the server then refuses a content that differs.
            interrupts: registers what ends the transfer.

        Raises:
            ObjectsUnavailableError: the server does not answer, or the transfer was ended.
        """
        try:
            self.send_file(key, file, headers, sha256=sha256, interrupts=interrupts)
        except ObjectTransferError as error:
            raise _unavailable() from error

    def send_file(
        self, key: str, file: IO[bytes], headers: Mapping[str, str], *, sha256: str | None, interrupts: Interrupts
    ) -> None:
        """As :meth:`put`, with the server's reason if it refuses.

        Raises:
            ObjectTransferError: the server refuses it or does not answer, or the transfer was ended.
        """
        size = file.seek(0, io.SEEK_END)
        all_headers = {"Content-Length": str(size), **headers}

        def send(connection: Connection) -> None:
            with self._send(
                connection, "PUT", key, all_headers, sha256=sha256 or UNSIGNED_PAYLOAD, body=(file, size)
            ) as response:
                if response.length is None or response.length > _BUFFER_BYTES:  # not worth reading to keep a connection
                    connection.close()
                else:
                    response.read()

        self._transfer(send, interrupts)

    def head(self, key: str, *, interrupts: Interrupts) -> Mapping[str, str]:
        """Return the ETag, and the metadata that PixelFlow gives the objects of its users' buckets.

        Raises:
            ObjectTransferError: the server refuses it or does not answer, or the transfer was ended.
        """

        def ask(connection: Connection) -> Mapping[str, str]:
            with self._send(connection, "HEAD", key, {}, sha256=EMPTY_SHA256) as response:
                response.read()
                return dict(response.headers.items())

        return self._transfer(ask, interrupts)

    def close(self) -> None:
        """Close idle connections."""
        self._connections.close()

    # ── Attempts ─────────────────────────────────────────────────────────────────────────────────

    def _transfer(self, work: Callable[[Connection], _T], interrupts: Interrupts) -> _T:
        """Make up to ``ATTEMPTS`` attempts; those on idle connections that the server had closed do not count."""
        ended, give_up = threading.Event(), time.monotonic() + RETRY_SECONDS
        failures = 0
        while True:
            connection = self._connections.take()
            try:
                return self._attempt(work, connection, interrupts, ended)
            except _FileError as error:
                raise error.__cause__ or error from None
            except ObjectTransferError as error:
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
        self, work: Callable[[Connection], _T], connection: Connection, interrupts: Interrupts, ended: threading.Event
    ) -> _T:
        def end() -> None:
            ended.set()
            connection.end()

        try:
            with interrupts(end):
                result = work(connection)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
            connection.close()
            raise ObjectTransferError(stale=True) from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise ObjectTransferError from error
        except BaseException:
            connection.close()
            raise
        if ended.is_set():
            connection.close()
        else:
            self._connections.keep(connection)
        return result

    def _send(
        self,
        connection: Connection,
        method: str,
        key: str,
        headers: Mapping[str, str],
        *,
        sha256: str,
        body: tuple[IO[bytes], int] | None = None,
    ) -> http.client.HTTPResponse:
        path = self._root + key
        try:
            signed = self._signer.authorize(method, path, headers=headers, sha256=sha256)
        except NoAccessKeyError as error:
            raise ObjectTransferError from error
        connection.putrequest(method, self._endpoint_path + quote(path), skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", self._signer.host)
        for name, value in signed.items():
            connection.putheader(name, value)
        connection.endheaders()
        if body:
            self._send_body(connection, *body)
        response = connection.getresponse()
        if response.status != http.client.OK:
            code = _CODE.search(response.read(_MAX_ERROR_BYTES))
            response.close()
            raise ObjectTransferError(status=response.status, code=code[1].decode() if code else "")
        return response

    def _send_body(self, connection: Connection, file: IO[bytes], size: int) -> None:
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


def _changed() -> SourceChangedError:
    return SourceChangedError("The source was replaced after the job was started; retry the job to process the new one")


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
