"""The HTTP server on real sockets: deadlines, limits of connections, and a strict reading of HTTP/1.1."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI, Request
from opentelemetry.trace import NoOpTracer
from prometheus_client import CollectorRegistry
from tests.support.garbage import garbage
from tests.support.waiting import assert_within, eventually
from tests.unit.test_metrics_server import settings_of

from pixelflow.controlplane.api.main import make_app
from pixelflow.controlplane.api.metrics import ApiMetrics
from pixelflow.controlplane.api.server import unread
from pixelflow.controlplane.api.server.request_head import MAX_HEAD_BYTES, MAX_HEADERS
from pixelflow.controlplane.api.server.serve import make_server
from pixelflow.controlplane.api.services import Services
from pixelflow.controlplane.limits.service import Policy, RateLimitResult
from pixelflow.controlplane.limits.store import BucketResult, Quota

HOST = b"Host: api\r\n"
GET = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
HELD = b"GET /v1/jobs HTTP/1.1\r\n" + HOST + b"\r\n"
LONG = b"GET /long HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
CHUNKED = b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"


class Api:
    """A running server, with routes that read a body, wait, and answer at length."""

    def __init__(self, limits: object = None, listening: socket.socket | None = None, **settings: object) -> None:
        self.registry = CollectorRegistry()
        metrics = ApiMetrics(self.registry)
        self.app = make_app(lambda: _services(limits), metrics, NoOpTracer())
        self.released = threading.Event()
        self.waiting = 0
        self._add_routes()
        self._listening = listening or socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.address: tuple[str, int] = self._listening.getsockname()
        self._server = make_server(self.app, settings_of(**settings), metrics)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listening]})

    def _add_routes(self) -> None:
        @self.app.post("/echo", include_in_schema=False)
        async def echo(request: Request) -> dict[str, Any]:
            return {"size": len(await request.body()), "headers": request.headers.items()}

        @self.app.get("/wait", include_in_schema=False)
        async def wait() -> str:
            self.waiting += 1
            await asyncio.to_thread(self.released.wait)
            return "released"

        @self.app.get("/client", include_in_schema=False)
        async def client(request: Request) -> str:
            return request.client.host if request.client else ""

        @self.app.get("/long", include_in_schema=False)
        async def long() -> str:
            return "x" * 20_000_000

    def closed(self, reason: str) -> float:
        """How many connections the server closed for this reason."""
        return self.registry.get_sample_value("pixelflow_api_connections_closed_total", {"reason": reason}) or 0

    def connect(self, sent: bytes = b"", *, source: str = "127.0.0.1") -> socket.socket:
        client = socket.create_connection(self.address, timeout=60, source_address=(source, 0))
        client.sendall(sent)
        return client

    def run(self) -> None:
        self._thread.start()
        eventually(lambda: self._server.started)

    def stop(self) -> None:
        self.released.set()
        self._server.should_exit = True
        self._thread.join()


@asynccontextmanager
async def _services(limits: object) -> AsyncIterator[Services]:
    yield cast("Services", SimpleNamespace(limits=limits, credentials=None, watches=SimpleNamespace(stop=lambda: None)))


@contextmanager
def serving(limits: object = None, listening: socket.socket | None = None, **settings: object) -> Iterator[Api]:
    api = Api(limits, listening, **settings)
    api.run()
    try:
        yield api
    finally:
        api.stop()


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    """With the default limits."""
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def hasty() -> Iterator[Api]:
    """With deadlines of half a second."""
    with serving(api_header_seconds=0.5, api_body_seconds=0.5, api_keep_alive_seconds=0.5) as running:
        yield running


def _read(client: socket.socket, *, pause: float = 0) -> bytes:
    """Everything until the server ends the connection, 64 KiB after each pause."""
    received = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(65536):
            received += piece
            time.sleep(pause)
    return bytes(received)


def _response(client: socket.socket) -> bytes:
    """One response."""
    received = b""
    while True:
        head, separator, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        if separator and len(body) >= int(length[1] if length else 0):
            return received
        piece = client.recv(65536)
        assert piece, received
        received += piece


def _exchange(api: Api, sent: bytes) -> bytes:
    with api.connect(sent) as client:
        return _read(client)


def _statuses(responses: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3})", responses)]


def _status(response: bytes) -> int:
    return int(response.split(b" ", 2)[1])


# ── Deadlines ────────────────────────────────────────────────────────────────────────────────────


def test_a_silent_connection_ends_at_the_deadline_of_headers(hasty: Api) -> None:
    started = time.monotonic()
    assert _exchange(hasty, b"") == b""
    assert time.monotonic() - started > 0.4
    assert_within(2, started)


def test_headers_byte_by_byte_end_with_408(hasty: Api) -> None:
    with hasty.connect(b"GET /healthz HTTP/1.1\r\n" + HOST) as client:
        started = time.monotonic()
        received = _drip(client, b"X-Slow: ")
    assert _status(received) == 408
    assert b"connection: close" in received
    assert b'"code": "request_timeout"' in received
    assert_within(2, started)


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 1000\r\n", b"Transfer-Encoding: chunked\r\n"], ids=["length", "chunked"]
)
def test_a_body_byte_by_byte_ends_with_408(hasty: Api, framing: bytes) -> None:
    with hasty.connect(b"POST /echo HTTP/1.1\r\n" + HOST + framing + b"\r\n") as client:
        started = time.monotonic()
        received = _drip(client, b"1\r\n1\r\n" if b"chunked" in framing else b"1")
    assert _status(received) == 408
    assert b"connection: close" in received
    assert b'"code": "request_timeout"' in received.replace(b'":"', b'": "')
    assert_within(2, started)


def test_a_body_that_nobody_reads_is_not_waited_for(hasty: Api) -> None:
    hasty.app.openapi()  # made at the start of the service; the answer for an unknown path needs it
    with hasty.connect(b"POST /v1/nothing HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\n") as client:
        started = time.monotonic()
        received = _drip(client, b"1")
    assert _status(received) == 404
    assert_within(2, started)


def test_an_idle_connection_ends_after_a_while_and_serves_until_then(hasty: Api) -> None:
    def is_served_three_times() -> bool:
        """Unless this process was paused for longer than a connection may be idle."""
        with hasty.connect() as client, contextlib.suppress(OSError, AssertionError):
            for _ in range(3):
                client.sendall(GET)
                assert _status(_response(client)) == 200
                time.sleep(0.3)
            started = time.monotonic()
            client.sendall(GET)
            assert _status(_response(client)) == 200
            assert _read(client) == b""
            assert_within(1, started)
            return True
        return False

    assert eventually(is_served_three_times)


def test_a_request_may_take_longer_than_it_may_arrive(hasty: Api) -> None:
    hasty.released.clear()
    with hasty.connect(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n") as client:
        threading.Timer(1.2, hasty.released.set).start()
        assert b"released" in _response(client)


@pytest.mark.parametrize(
    "refused", [b"BREW / HTTP/1.1\r\n\r\n", b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nx"]
)
def test_a_request_may_take_longer_than_one_that_is_refused_behind_it(hasty: Api, refused: bytes) -> None:
    hasty.released.clear()
    with hasty.connect(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n" + refused) as client:
        threading.Timer(1.2, hasty.released.set).start()
        assert _statuses(_read(client)) == [200, 400]


def test_a_client_that_reads_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread, "MAX_STILL_SECONDS", 0.5)
    with serving() as api, api.connect(LONG):
        eventually(lambda: api.closed("unread") == 1)


def test_a_client_that_reads_slowly_gets_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread, "MAX_STILL_SECONDS", 0.5)

    def is_all_read() -> bool:
        """Unless this process, client and server, was paused for longer than a client may read nothing."""
        with serving() as api, api.connect(LONG) as client:
            started = time.monotonic()
            size = len(_read(client, pause=0.005))
            assert time.monotonic() - started > 1.2 or size < 20_000_000
            assert api.closed("unread") == int(size < 20_000_000)
            return size > 20_000_000

    assert eventually(is_all_read)


def test_a_client_that_reads_slowly_is_cut_off_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread, "MAX_STILL_SECONDS", 0.3)
    monkeypatch.setattr(unread, "_MAX_SECONDS", 0.8)
    with serving() as api, api.connect(LONG) as client:
        assert len(_read(client, pause=0.005)) < 20_000_000
        assert api.closed("unread") == 1


def _drip(client: socket.socket, piece: bytes) -> bytes:
    """Send a piece several times a second until the server answers, for 5 s at most. Return what it sent."""
    client.settimeout(0.05)
    for _ in range(100):
        with contextlib.suppress(TimeoutError, BrokenPipeError):
            client.sendall(piece)
            if first := client.recv(65536):
                return first + _read_slowly(client)
    pytest.fail("the server waits for ever")


def _read_slowly(client: socket.socket) -> bytes:
    client.settimeout(60)
    return _read(client)


# ── Limits of connections ────────────────────────────────────────────────────────────────────────


def test_silent_connections_keep_nobody_out() -> None:
    """1,010 connections that send nothing, from one client and from many; requests are answered at once."""
    with serving() as api, ExitStack() as stack:
        for number in range(1010):
            stack.enter_context(api.connect(source=f"127.0.0.{1 + number // 200}"))
        for client in ("127.0.0.1", "127.0.9.9"):
            started = time.monotonic()
            with api.connect(GET, source=client) as good:
                assert _status(_response(good)) == 200
            assert_within(0.5, started)
        assert api.closed("evicted") >= 11
        assert api.closed("overloaded") == 0


def test_silent_connections_of_one_client_close_only_its_own() -> None:
    with serving(api_max_connections_per_client=5) as api, ExitStack() as stack:
        other = stack.enter_context(api.connect(GET, source="127.0.0.2"))
        assert _status(_response(other)) == 200
        first, *rest = [stack.enter_context(api.connect()) for _ in range(6)]
        assert _read(first) == b"", "the oldest"
        for client in (other, *rest):
            client.sendall(GET)
            assert _status(_response(client)) == 200


def test_a_client_whose_connections_all_work_gets_429_and_others_are_served() -> None:
    with serving(api_max_connections_per_client=3) as api, ExitStack() as stack:
        waiting = [stack.enter_context(api.connect(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n")) for _ in range(3)]
        eventually(lambda: api.waiting == 3)
        refused = _exchange(api, b"")
        assert _status(refused) == 429
        assert b'"code": "too_many_connections"' in refused
        with api.connect(GET, source="127.0.0.2") as other:
            assert _status(_response(other)) == 200
        api.released.set()
        assert all(b"released" in _response(client) for client in waiting)


class Blocking:
    """Limits over which every request without a credential is. Each is held for a while."""

    def __init__(self, hold_seconds: float) -> None:
        bucket = BucketResult(allowed=False, remaining=0, refill_seconds=60)
        self._block = RateLimitResult(Policy.UNAUTHENTICATED, Quota(1, 60), bucket, hold_seconds)
        self.held = 0

    def find_block(self, _: object) -> RateLimitResult:
        self.held += 1
        return self._block


def test_held_rejections_keep_nobody_out() -> None:
    """All connections that there may be are of four clients over their limits, which also send more meanwhile."""
    limits: dict[str, Any] = {"api_max_connections": 40, "api_max_connections_per_client": 10}
    blocking = Blocking(hold_seconds=2)
    with serving(blocking, **limits) as api, ExitStack() as stack:
        held = [stack.enter_context(api.connect(HELD, source=f"127.0.0.{1 + number // 10}")) for number in range(40)]
        eventually(lambda: blocking.held == 40)
        for client in held:
            client.sendall(HELD)
        time.sleep(0.1)  # so that the server may read it; what follows holds before, too
        for source in ("127.0.0.1", *(f"127.0.9.{number}" for number in range(1, 10))):
            assert _status(_response(stack.enter_context(api.connect(GET, source=source)))) == 200
        assert api.closed("evicted") == 10
        assert api.closed("overloaded") == api.closed("too_many_connections") == 0


def test_the_request_after_a_held_one_is_in_progress() -> None:
    sent = HELD + b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n"
    with serving(Blocking(hold_seconds=0.1), api_max_connections_per_client=1) as api, api.connect(sent) as client:
        assert _status(_response(client)) == 429
        assert b'"code": "too_many_connections"' in _exchange(api, b"")
        api.released.set()
        assert b"released" in _response(client)


def test_a_held_request_whose_connection_is_lost_answers_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Neither does one that waits behind it."""
    blocking = Blocking(hold_seconds=0.3)
    with serving(blocking, api_max_connections_per_client=1) as api, api.connect(HELD + GET):
        eventually(lambda: blocking.held == 1)
        with api.connect(GET) as next_:
            assert _status(_response(next_)) == 200
        assert api.closed("evicted") == 1
        time.sleep(0.4)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


# ── Garbage ──────────────────────────────────────────────────────────────────────────────────────


def test_requests_and_connections_leave_nothing_to_the_garbage_collector() -> None:
    """It stops the event loop: for half a second, after a client had opened thousands of connections."""
    blocking = Blocking(hold_seconds=0.2)
    body = b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\n{}"
    requests = [GET, body, CHUNKED + b"2\r\n{}\r\n0\r\n\r\n", GET + HELD + GET, b"not HTTP\r\n\r\n", HELD, body[:-1]]
    with serving(blocking) as api, garbage() as left:
        for sent in requests:
            with api.connect(sent) as client:
                client.settimeout(0.1)
                with contextlib.suppress(TimeoutError):
                    _read(client)
        eventually(lambda: api.registry.get_sample_value("pixelflow_api_connections") == 0)
        time.sleep(0.4)  # of the held ones
    with serving(blocking, api_max_connections_per_client=1) as api, garbage() as left_by_evicted:
        with api.connect(HELD) as client:
            eventually(lambda: blocking.held == 3)
            with api.connect(GET) as next_:
                assert _status(_response(next_)) == 200
            assert _read(client) == b""
        eventually(lambda: api.registry.get_sample_value("pixelflow_api_connections") == 0)
        time.sleep(0.4)
    assert api.closed("evicted") == 1
    assert (left | left_by_evicted).isdisjoint({"ApiProtocol", "RequestResponseCycle", "Task", "TCPTransport"})


# ── Proxies ──────────────────────────────────────────────────────────────────────────────────────


def test_a_trusted_proxy_may_have_any_share_of_the_connections() -> None:
    limits: dict[str, Any] = {"api_max_connections": 10, "api_max_connections_per_client": 3}
    with serving(**limits, trusted_proxies="127.0.0.7") as api, ExitStack() as stack:
        request = b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n"
        waiting = [stack.enter_context(api.connect(request, source="127.0.0.7")) for _ in range(10)]
        eventually(lambda: api.waiting == 10)
        refused = _exchange(api, b"")
        assert _status(refused) == 503
        assert b'"code": "overloaded"' in refused
        assert b"retry-after: 1" in refused
        api.released.set()
        assert all(b"released" in _response(client) for client in waiting)


def _forwarded(address: bytes) -> bytes:
    return b"GET /client HTTP/1.1\r\n" + HOST + b"X-Forwarded-For: " + address + b"\r\n\r\n"


@pytest.mark.parametrize("proxies", ["127.0.0.0/8", "::ffff:127.0.0.0/104"])
def test_a_proxy_is_trusted_although_its_address_is_mapped(proxies: str) -> None:
    """A socket for both versions of IP shows the addresses of IPv4 clients as mapped ones."""
    listening = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    address = ("127.0.0.1", listening.getsockname()[1])
    limits: dict[str, Any] = {"api_max_connections_per_client": 1, "trusted_proxies": proxies}
    with serving(listening=listening, **limits) as api, ExitStack() as stack:
        api.address = address
        waiting = [b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n"] * 2
        clients = [stack.enter_context(api.connect(sent, source="127.0.0.7")) for sent in waiting]
        with api.connect(_forwarded(b"192.0.2.1, ::ffff:127.0.0.9")) as client:
            assert b"192.0.2.1" in _response(client)
        api.released.set()
        assert [_status(_response(client)) for client in clients] == [200, 200]


def test_a_client_is_known_by_its_ipv4_address_although_it_is_mapped() -> None:
    listening = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    with serving(listening=listening) as api:
        api.address = ("127.0.0.1", listening.getsockname()[1])
        with api.connect(_forwarded(b"192.0.2.1"), source="127.0.0.7") as client:
            assert _response(client).endswith(b'"127.0.0.7"')


def test_a_client_of_a_unix_socket_is_a_trusted_proxy(tmp_path: Path) -> None:
    path, listening = str(tmp_path / "api"), socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    with (
        serving(listening=listening, api_max_connections_per_client=1, api_socket=listening.fileno()),
        ExitStack() as stack,
    ):
        for _ in range(3):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(path)
            client.sendall(_forwarded(b"192.0.2.1"))
            assert b"192.0.2.1" in _response(client)
        client.sendall(b"GET /client HTTP/1.1\r\n" + HOST + b"\r\n")
        assert _response(client).endswith(b'"unix"')


# ── Framing ──────────────────────────────────────────────────────────────────────────────────────


def _post(*headers: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    return b"POST /echo " + version + b"\r\n" + HOST + b"".join(header + b"\r\n" for header in headers) + b"\r\n" + body


def _get(*lines: bytes, target: bytes = b"/healthz", version: bytes = b"HTTP/1.1") -> bytes:
    return b"GET " + target + b" " + version + b"\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
INVALID = {
    "length and chunks": _post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + SMUGGLED),
    "chunks and length": _post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n" + SMUGGLED),
    "two lengths": _post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello" + SMUGGLED),
    "one length twice": _post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"),
    "list of lengths": _post(b"Content-Length: 5, 5", body=b"hello"),
    "signed length": _post(b"Content-Length: +5", body=b"hello"),
    "negative length": _post(b"Content-Length: -5", body=b"hello"),
    "hexadecimal length": _post(b"Content-Length: 0x5", body=b"hello"),
    "empty length": _post(b"Content-Length: ", body=b"hello"),
    "huge length": _post(b"Content-Length: 99999999999999999999999", body=b"hello"),
    "space after a name": _post(b"Content-Length : 5", body=b"hello"),
    "gzip and chunks": _post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "identity": _post(b"Transfer-Encoding: identity", body=b"0\r\n\r\n"),
    "chunks twice": _post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "chunks in HTTP/1.0": _post(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n", version=b"HTTP/1.0"),
    "folded header": _get(b"Host: api", b"X-A: b", b" c"),
    "folded length": _post(b"Content-Length:", b" 5", body=b"hello"),
    "space before the first header": _get(b" Host: api"),
    "bare LF": b"GET /healthz HTTP/1.1\nHost: api\n\n",
    "bare LF within headers": b"GET /healthz HTTP/1.1\r\nHost: api\nX-A: b\r\n\r\n",
    "bare CR in a value": _get(b"Host: api", b"X-A: b\rc"),
    "NUL in a value": _get(b"Host: api", b"X-A: b\0c"),
    "bare LF after a chunk size": CHUNKED + b"1\nA\r\n0\r\n\r\n",
    "bare LF in a chunk extension": CHUNKED + b"1;a=\nb\r\nA\r\n0\r\n\r\n",
    "space after a chunk size": CHUNKED + b"1 \r\nA\r\n0\r\n\r\n",
    "chunk longer than its size": CHUNKED + b"1\r\nAB\r\n0\r\n\r\n",
    "no host": _get(),
    "two hosts": _get(b"Host: a", b"Host: b"),
    "empty host": _get(b"Host: "),
    "host with a path": _get(b"Host: a/b"),
    "host with a user": _get(b"Host: a@b"),
    "HTTP/2 without negotiation": _get(b"Host: a", version=b"HTTP/2.0"),
    "HTTP/0.9": b"GET /healthz\r\n\r\n",
    "unknown method": b"BREW /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "tunnel": b"CONNECT api:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("request_", INVALID.values(), ids=INVALID)
def test_an_ambiguous_request_gets_400_and_ends_the_connection(api: Api, request_: bytes) -> None:
    response = _exchange(api, request_)
    assert _statuses(response) == [400], "no second request was read"
    assert b"connection: close" in response
    assert b"content-type: application/problem+json" in response
    assert b'"code": "invalid_http"' in response


def test_a_refusal_follows_the_answers_to_earlier_requests(api: Api) -> None:
    response = _exchange(api, GET + _post(b"Content-Length: 2", body=b"hi") + INVALID["two lengths"] + GET)
    assert _statuses(response) == [200, 200, 400]


def test_a_trailer_is_not_a_header(api: Api) -> None:
    response = _exchange(
        api,
        CHUNKED + b"1\r\nA\r\n0\r\nAuthorization: Bearer x\r\n\r\n" + _get(b"Host: a", b"Connection: close"),
    )
    assert b'"size":1' in response
    assert b"Bearer" not in response


def test_a_request_to_change_the_protocol_is_ignored(api: Api) -> None:
    upgrade = _get(b"Host: a", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: x")
    websocket = _get(b"Host: a", b"Connection: Upgrade", b"Upgrade: websocket")
    response = _exchange(api, upgrade + websocket + _get(b"Host: a", b"Connection: close"))
    assert response.count(b"HTTP/1.1 200") == 3


def test_the_client_that_waits_for_100_continue_gets_it(api: Api) -> None:
    with api.connect(_post(b"Content-Length: 2", b"Expect: 100-continue")) as client:
        assert client.recv(65536).startswith(b"HTTP/1.1 100 ")
        client.sendall(b"hi")
        assert b'"size":2' in _response(client)


# ── Sizes ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(_get(b"Host: a", b"X-A: " + b"b" * MAX_HEAD_BYTES), id="one header"),
        pytest.param(_get(b"Host: a", *[b"X-A: b"] * MAX_HEADERS), id="many headers"),
        pytest.param(_get(b"Host: a", target=b"/" + b"a" * MAX_HEAD_BYTES), id="target"),
        pytest.param(b"GET / HTTP/1.1\r\nX-A: " + b"b" * MAX_HEAD_BYTES, id="header without end"),
        pytest.param(b"GET /" + b"a" * 10 * MAX_HEAD_BYTES, id="target without end"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 10_000, id="headers without end"),
    ],
)
def test_headers_over_the_limit_get_431(api: Api, sent: bytes) -> None:
    response = _exchange(api, sent)
    assert _status(response) == 431
    assert b'"code": "headers_too_large"' in response
    assert b"connection: close" in response


def test_headers_just_within_the_limit_are_accepted_in_pieces_of_any_size(api: Api) -> None:
    head = _get(b"Host: a", b"Connection: close", b"X-A: " + b"b" * (MAX_HEAD_BYTES - 200))
    assert _status(_exchange(api, head)) == 200
    with api.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(head), 700):
            client.sendall(head[start : start + 700])
            time.sleep(0.001)
        assert _status(_read(client)) == 200


def test_the_body_of_a_request_does_not_count_for_the_headers_of_the_next(api: Api) -> None:
    body = b"x" * 100_000
    response = _exchange(
        api,
        _post(b"Content-Length: 100000", body=body) + _get(b"Host: a", b"Connection: close", b"X-A: " + b"b" * 9000),
    )
    assert _statuses(response) == [200, 200]


def test_a_body_in_very_many_chunks_is_refused(api: Api) -> None:
    assert _status(_exchange(api, CHUNKED + b"1\r\nA\r\n" * 50_000)) == 413


def test_many_requests_at_once_are_answered_up_to_a_limit(api: Api) -> None:
    response = _exchange(api, GET * 12 + _get(b"Host: a", b"Connection: close"))
    assert response.count(b"HTTP/1.1 200") == 13
    response = _exchange(api, GET * 3000)
    assert response.count(b"HTTP/1.1 200") < 30


@pytest.mark.parametrize(
    ("path", "limit"), [("/echo", 128 * 1024), ("/v1/keys/echo", 4 * 1024), ("/v1/webhook-endpoints/echo", 8 * 1024)]
)
def test_each_route_has_a_limit_of_its_body(api: Api, path: str, limit: int) -> None:
    @api.app.post(path)
    async def read(request: Request) -> int:
        return len(await request.body())

    _first(api.app)
    url = f"http://127.0.0.1:{api.address[1]}{path}"
    assert httpx.post(url, content=b"x" * limit).json() in (limit, {"size": limit}) or path == "/echo"
    for content in (b"x" * (limit + 1), iter([b"x" * limit, b"x"])):
        response = httpx.post(url, content=content)
        assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


def _first(app: FastAPI) -> None:
    """Make the route that was added last precede the others."""
    app.router.routes.insert(0, app.router.routes.pop())


def test_a_large_upload_to_the_api_gets_the_answer(api: Api) -> None:
    response = httpx.post(f"http://127.0.0.1:{api.address[1]}/echo", content=b"x" * 900_000)
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
