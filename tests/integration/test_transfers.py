"""Transfers of objects: retries, reused connections, and their end from another thread wherever they hang."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest
from tests.integration.webhooks.test_outbound import Authority
from tests.support.waiting import assert_within

from pixelflow.adapters.storage.signatures import AccessKey, Signer
from pixelflow.adapters.storage.transfers import ATTEMPTS, S3Transfers
from pixelflow.errors import ObjectsUnavailableError, SourceChangedError, SourceGoneError

BODY = os.urandom(600_000)
PROMPT_SECONDS = 1.0
"""Within which an interrupted transfer has ended."""
HANG = b""


def _response(status: str = "200 OK", body: bytes = BODY, *, declared: int | None = None, headers: str = "") -> bytes:
    length = len(body) if declared is None else declared
    return f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n".encode() + body


@dataclass
class Server:
    """Gives one response after the other, whatever is requested; keeps connections open unless told otherwise."""

    responses: list[bytes]
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    listening: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    closes: bool = False
    """Closes each connection after a response, without having said so."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listening.getsockname()[1]}"

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listening.accept()
                self.connections += 1
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError), connection.makefile("rb") as reader:
            while self.responses and (request := self._read(reader)):
                response = self.responses.pop(0)
                self.requests.append(request)
                connection.sendall(response)
                _, _, length = response.partition(b"Content-Length: ")
                if self.closes or len(response) < 1000 < int(length.split(b"\r")[0] or 0):
                    return
            threading.Event().wait(60)

    @staticmethod
    def _read(reader: IO[bytes]) -> bytes:
        head = b""
        while (line := reader.readline()) not in {b"\r\n", b""}:
            head += line
        length = next((int(row[15:]) for row in head.split(b"\r\n") if row.lower().startswith(b"content-length:")), 0)
        return head + reader.read(length)


def _transfers(url: str) -> S3Transfers:
    return S3Transfers(url, root="/b/", signer=Signer(url, region="r", credentials=AccessKey("key", "secret")))


@contextmanager
def _served(responses: Sequence[bytes], *, closes: bool = False) -> Iterator[tuple[Server, S3Transfers]]:
    server = Server(list(responses), closes=closes)
    threading.Thread(target=server.serve, daemon=True).start()
    transfers = _transfers(server.url)
    try:
        yield server, transfers
    finally:
        transfers.close()
        server.listening.close()


def _get(transfers: S3Transfers, path: Path) -> tuple[int, str]:
    with path.open("wb", buffering=0) as file:
        return transfers.get("uploads/x/source", file, max_bytes=10**9)


def test_connections_are_reused(tmp_path: Path) -> None:
    with _served([_response()] * 3) as (server, transfers):
        for _ in range(3):
            assert _get(transfers, tmp_path / "copy") == (len(BODY), hashlib.sha256(BODY).hexdigest())
            assert (tmp_path / "copy").read_bytes() == BODY
        assert server.connections == 1


def test_an_idle_connection_that_the_server_closed_is_replaced(tmp_path: Path) -> None:
    with _served([_response()] * 3, closes=True) as (server, transfers):
        for _ in range(3):
            _get(transfers, tmp_path / "copy")
        assert server.connections == 3


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(_response("500 Internal Server Error", b""), id="error of the server"),
        pytest.param(_response("503 Slow Down", b""), id="slow down"),
        pytest.param(_response(body=BODY[:500], declared=len(BODY)), id="cut short"),
    ],
)
def test_a_failure_is_retried_and_the_file_has_no_trace_of_it(tmp_path: Path, failure: bytes) -> None:
    with _served([failure, _response()]) as (server, transfers):
        assert _get(transfers, tmp_path / "copy")[0] == len(BODY)
        assert (tmp_path / "copy").read_bytes() == BODY
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("sent", "expected", "accepted"),
    [
        ('ETag: "a"', "a", True),
        ('ETag: "b"', "a", False),
        ('ETag: "b"', "", True),
        ('ETag: ""', "a", True),
        ("", "a", True),
        ('ETag: ""\r\nLast-Modified: Sun, 29 Nov 2026 01:06:58 GMT', "modified:1795914418", True),
        ('ETag: ""\r\nLast-Modified: Sun, 29 Nov 2026 01:06:59 GMT', "modified:1795914418", True),
        ('ETag: ""\r\nLast-Modified: Sun, 29 Nov 2026 01:07:00 GMT', "modified:1795914418", False),
        ("", "modified:1795914418", True),
    ],
)
def test_an_object_of_another_version_is_not_received(tmp_path: Path, sent: str, expected: str, accepted: bool) -> None:
    """Not every server sends ETags."""
    headers = f"{sent}\r\n" if sent else ""
    with _served([_response(headers=headers)]) as (_, transfers), (tmp_path / "copy").open("wb", buffering=0) as file:
        with pytest.raises(SourceChangedError) if not accepted else nullcontext():
            transfers.get("assets/x", file, max_bytes=10**9, version=expected)
        assert file.tell() == (len(BODY) if accepted else 0)


def test_the_server_is_asked_for_the_version(tmp_path: Path) -> None:
    with _served([_response("412 Precondition Failed", b"")]) as (server, transfers):
        with (tmp_path / "copy").open("wb", buffering=0) as file, pytest.raises(SourceChangedError):
            transfers.get("assets/x", file, max_bytes=10**9, version="a")
        assert b'If-Match: "a"\r\n' in server.requests[0]


def test_retries_end(tmp_path: Path) -> None:
    with _served([_response("500 Internal Server Error", b"")] * 9) as (server, transfers):
        with pytest.raises(ObjectsUnavailableError):
            _get(transfers, tmp_path / "copy")
        assert len(server.requests) == ATTEMPTS


def test_a_refusal_is_not_retried(tmp_path: Path) -> None:
    with _served([_response("403 Forbidden", b"secret")] * 9) as (server, transfers):
        with pytest.raises(ObjectsUnavailableError) as raised:
            _get(transfers, tmp_path / "copy")
        assert len(server.requests) == 1
        assert "secret" not in str(raised.value)


def test_a_missing_source_is_not_a_storage_error(tmp_path: Path) -> None:
    body = b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code><Key>x</Key></Error>"
    chunked = b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    for missing in (_response("404 Not Found", body), chunked):  # S3 sends chunks, some servers a length
        with _served([missing]) as (_, transfers):
            started = time.monotonic()
            with pytest.raises(SourceGoneError):
                _get(transfers, tmp_path / "copy")
            assert_within(3, started)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<Error><Code>NoSuchBucket</Code></Error>", id="no bucket"),
        pytest.param(b"<html>Not Found</html>", id="a proxy"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_another_404_is_an_error_of_the_storage(tmp_path: Path, body: bytes) -> None:
    with _served([_response("404 Not Found", body)]) as (_, transfers), pytest.raises(ObjectsUnavailableError):
        _get(transfers, tmp_path / "copy")


def test_room_is_reserved_before_a_source_is_received(tmp_path: Path) -> None:
    class NoRoomError(Exception):
        pass

    def refuse(size: int) -> None:
        assert size == len(BODY)
        raise NoRoomError

    with _served([_response()] * 2) as (server, transfers), (tmp_path / "copy").open("wb", buffering=0) as file:
        with pytest.raises(NoRoomError):
            transfers.get("uploads/x/source", file, max_bytes=10**9, reserve=refuse)
        assert (file.tell(), len(server.requests)) == (0, 1)
        assert transfers.get("uploads/x/source", file, max_bytes=10**9)[0] == len(BODY)


def test_an_upload_is_repeated_from_the_start(tmp_path: Path) -> None:
    (tmp_path / "output").write_bytes(BODY)
    digest = hashlib.sha256(BODY).hexdigest()
    failure = _response("500 Internal Server Error", b"")
    with _served([failure, _response(body=b"")]) as (server, transfers), (tmp_path / "output").open("rb") as file:
        transfers.put("outputs/x", file, {"Content-Type": "image/jpeg"}, sha256=digest)
        assert [request.endswith(BODY) for request in server.requests] == [True, True]
        assert f"X-Amz-Content-SHA256: {digest}".encode() in server.requests[0]


# ── Interruption ─────────────────────────────────────────────────────────────────────────────────


class Interruption:
    """Ends a transfer after a moment, as the interruption of a lease does."""

    def __init__(self) -> None:
        self._hooks: set[Callable[[], None]] = set()
        self._interrupted = False
        threading.Timer(0.2, self._interrupt).start()

    def _interrupt(self) -> None:
        self._interrupted = True
        for hook in list(self._hooks):
            hook()

    @contextmanager
    def __call__(self, hook: Callable[[], None]) -> Iterator[None]:
        self._hooks.add(hook)
        if self._interrupted:
            hook()
        try:
            yield
        finally:
            self._hooks.discard(hook)


@contextmanager
def _prompt() -> Iterator[None]:
    began = time.monotonic()
    with pytest.raises(ObjectsUnavailableError):
        yield
    assert time.monotonic() - began > 0.1
    assert_within(PROMPT_SECONDS, began)


@pytest.mark.parametrize(
    "hanging",
    [
        pytest.param(b"", id="without a response"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-", id="within the head"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + BODY, id="within the body"),
    ],
)
def test_a_download_that_hangs_can_be_ended(tmp_path: Path, hanging: bytes) -> None:
    with (
        _hanging(hanging) as transfers,
        (tmp_path / "copy").open("wb", buffering=0) as file,
        _prompt(),
    ):
        transfers.get("uploads/x/source", file, max_bytes=10**9, interrupts=Interruption())


@contextmanager
def _hanging(sent: bytes) -> Iterator[S3Transfers]:
    """A server that accepts one connection, sends so much and hangs."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        accepted: list[socket.socket] = []

        def accept() -> None:
            with suppress(OSError):
                connection, _ = listening.accept()
                accepted.append(connection)
                connection.sendall(sent)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        yield _transfers(url)
        thread.join(5)
        for each in accepted:
            each.close()


def test_an_upload_that_hangs_can_be_ended() -> None:
    with _hanging(b"") as transfers, _prompt():
        transfers.put("k", io.BytesIO(bytes(50_000_000)), {"Content-Type": "image/jpeg"}, interrupts=Interruption())


def test_a_connection_that_is_not_accepted_can_be_ended() -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for each in (first, second):  # fill the backlog: the kernel ignores further attempts
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        transfers = _transfers(url)
        with _prompt():
            transfers.put("k", io.BytesIO(b"x"), {"Content-Type": "image/jpeg"}, interrupts=Interruption())


def test_the_pause_before_a_retry_can_be_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pixelflow.adapters.storage.transfers._FIRST_PAUSE_SECONDS", 8.0)
    failure = _response("500 Internal Server Error", b"")
    with (
        _served([failure] * 9) as (_, transfers),
        (tmp_path / "copy").open("wb", buffering=0) as file,
        _prompt(),
    ):
        transfers.get("uploads/x/source", file, max_bytes=10**9, interrupts=Interruption())


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_server_is_authenticated_by_its_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    for name, trusted in (("localhost", True), ("other.example", False)):
        with _secured(authority.server(name), _response()) as url:
            transfers = _transfers(url)
            transfers._connections.tls = authority.client
            if trusted:
                assert _get(transfers, tmp_path / "copy")[0] == len(BODY)
            else:
                with pytest.raises(ObjectsUnavailableError):
                    _get(transfers, tmp_path / "copy")


def test_a_download_over_tls_that_hangs_can_be_ended(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with (
        _secured(authority.server("localhost"), _response(body=BODY, declared=10**6)) as url,
        (tmp_path / "copy").open("wb", buffering=0) as file,
    ):
        transfers = _transfers(url)
        transfers._connections.tls = authority.client
        with _prompt():
            transfers.get("uploads/x/source", file, max_bytes=10**9, interrupts=Interruption())


@contextmanager
def _secured(context: ssl.SSLContext, sent: bytes) -> Iterator[str]:
    """A server with TLS that sends the same to everybody and hangs."""
    stop = threading.Event()

    def answer(raw: socket.socket) -> None:
        with suppress(OSError), context.wrap_socket(raw, server_side=True) as secure:
            secure.recv(4096)
            secure.sendall(sent)
            stop.wait(60)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listening.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        yield f"https://localhost:{listening.getsockname()[1]}"
        stop.set()
