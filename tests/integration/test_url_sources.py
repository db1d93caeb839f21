"""Downloads of sources from servers that do what they like, and the places that they take."""

from __future__ import annotations

import gzip
import hashlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from io import FileIO
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, BinaryIO, cast
from unittest.mock import MagicMock

import pytest
from tests.integration.job_rows import CAPABILITIES, LEASE, put
from tests.support.image_server import (
    ImageServer,
    Page,
    chunked,
    dripping,
    endless,
    redirect,
    response,
    serving,
    silent,
)
from tests.support.waiting import DEADLINE_SECONDS, assert_within, eventually

from pixelflow.adapters.outbound_http import Downloads, OutboundHttp, OutboundRule, Resolve
from pixelflow.adapters.outbound_http.downloads import MAX_REDIRECTS, RESERVE_BYTES
from pixelflow.adapters.postgres.database import Connection, Database
from pixelflow.contracts.capabilities import URL_SOURCES
from pixelflow.dataplane.worker.claims import ClaimLimits, ClaimLoop, Worker
from pixelflow.dataplane.worker.store import ClaimedJob, fail, release
from pixelflow.dataplane.worker.url_sources import PAUSE_SECONDS, FetchPlaces, UrlSources
from pixelflow.errors import (
    DependencyError,
    Fault,
    PixelflowError,
    SourceOverLimitError,
    SourcePostponedError,
    SourceUrlRefusedError,
    SourceUrlStatusError,
    SourceUrlUnavailableError,
)

PHOTO = os.urandom(300_000)
RULE = OutboundRule(networks=(ip_network("127.0.0.0/8"),), allow_http=True)
LIMIT = 1_000_000
NOTHING_SPENT: dict[str, Any] = {"stages": {}, "compute_time_ms": 0}


@contextmanager
def downloads(
    rule: OutboundRule = RULE, *, resolve: Resolve | None = None, first_seconds: float = 5
) -> Iterator[Downloads]:
    with closing(OutboundHttp(rule, resolve=resolve)) as http:
        yield Downloads(http, first_seconds=first_seconds)


async def get(url: str, path: Path, *, max_bytes: int = LIMIT, **options: Any) -> tuple[int, str]:  # noqa: ANN401
    with downloads(**options) as opened, path.open("xb", buffering=0) as file:
        return await opened.get(url, file, max_bytes=max_bytes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "source"


@pytest.fixture
def full() -> Iterator[BinaryIO]:
    """A file on a full disk."""
    with Path("/dev/full").open("wb", buffering=0) as file:
        yield file


def content(path: Path) -> bytes:
    return path.read_bytes()


async def error_of(page: Page, path: Path, url: str = "/a.jpg?token=secret", **options: Any) -> PixelflowError:  # noqa: ANN401
    """The error of a download; it names the server, and nothing else of the URL."""
    with serving({"/a.jpg": page}) as server:
        with pytest.raises(PixelflowError) as raised:
            await get(server.url + url, path, **options)
        assert server.url in raised.value.detail
    assert "secret" not in repr(raised.value)
    assert "a.jpg" not in raised.value.detail
    return raised.value


# ── Files ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "page",
    [response(PHOTO), response(PHOTO, length=None, Connection="close"), chunked(PHOTO)],
    ids=["announced", "until the end of the connection", "chunked"],
)
async def test_a_file_is_copied_as_it_is(page: Page, path: Path) -> None:
    with serving({"/a.jpg": page}) as server:
        found = await get(f"{server.url}/a.jpg?size=1", path)
    assert found == (len(PHOTO), hashlib.sha256(PHOTO).hexdigest())
    assert content(path) == PHOTO
    [request] = server.requests
    assert request.startswith(b"GET /a.jpg?size=1 HTTP/1.1\r\n")
    assert b"Accept-Encoding: identity\r\n" in request
    assert not {b"authorization", b"cookie", b"referer"} & {
        line.split(b":")[0].lower() for line in request.split(b"\r\n")
    }


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_redirects_are_followed(status: str, path: Path) -> None:
    pages = {"/a": redirect("/b?c", status), "/b": redirect("deeper/d", status), "/deeper/d": response(PHOTO)}
    with serving(pages) as server:
        assert (await get(f"{server.url}/a", path))[0] == len(PHOTO)


# ── Refused ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "location",
    [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/",
        "http://0x0a000001/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "http://user:pa55w0rd@127.0.0.1:{port}/b",
        "http://127.0.0.1:22/",
        "http://[not an address",
        "/" + "x" * 3000,
        "/b c",
    ],
)
async def test_a_redirect_is_checked_like_the_first_url(location: str, path: Path) -> None:
    with serving({"/b": response(PHOTO)}) as server:
        server.pages["/a"] = [redirect(location.replace("{port}", str(server.port)))]
        with pytest.raises(SourceUrlRefusedError) as raised:
            await get(f"{server.url}/a", path)
        assert len(server.requests) == 1
    assert "169.254" not in raised.value.detail
    assert "pa55w0rd" not in raised.value.detail


async def test_a_name_with_a_private_address_is_refused_at_the_connection(path: Path) -> None:
    async def resolve(name: str) -> list[Any]:
        return [ip_address({"img.example": "127.0.0.1"}.get(name, "10.0.0.1"))]

    with serving({"/a": response(PHOTO)}) as server:
        server.pages["/b"] = [redirect(f"http://internal.example:{server.port}/")]
        assert await get(f"http://img.example:{server.port}/a", path, resolve=resolve)
        with pytest.raises(SourceUrlRefusedError, match=r"^http://internal.example:\d+: the host of the URL must have"):
            await get(f"http://img.example:{server.port}/b", path.with_name("b"), resolve=resolve)


async def test_only_hosts_that_the_operator_lists_are_asked(path: Path) -> None:
    async def resolve(_: str) -> list[Any]:
        return [ip_address("127.0.0.1")]

    rule = OutboundRule(RULE.networks, allow_http=True, hosts=("img.example", "*.cdn.example"))
    with serving({"/a": response(PHOTO), "/b": redirect("http://other.example/")}) as server:
        for number, host in enumerate(["img.example", "a.cdn.example", "a.b.cdn.example"]):
            await get(f"http://{host}:{server.port}/a", path.with_name(str(number)), rule=rule, resolve=resolve)
        for host in ("example", "cdn.example", "evil-img.example", "xcdn.example", "127.0.0.1"):
            with pytest.raises(SourceUrlRefusedError, match="host that the operator allows"):
                await get(f"http://{host}:{server.port}/a", path.with_name(host), rule=rule, resolve=resolve)
        with pytest.raises(SourceUrlRefusedError, match="host that the operator allows"):
            await get(f"http://img.example:{server.port}/b", path, rule=rule, resolve=resolve)
    assert len(server.requests) == 4


async def test_a_loop_of_redirects_ends(path: Path) -> None:
    error = await error_of(redirect("/a.jpg?token=secret"), path)
    assert isinstance(error, SourceUrlRefusedError)
    assert f"more than {MAX_REDIRECTS} times" in error.detail


@pytest.mark.parametrize("coding", ["gzip", "br", "gzip, gzip"])
async def test_a_coded_body_is_not_decoded(coding: str, path: Path) -> None:
    bomb = gzip.compress(bytes(10_000_000))
    error = await error_of(response(bomb, Content_Encoding=coding), path)
    assert isinstance(error, SourceUrlRefusedError)
    assert content(path) == b""


@pytest.mark.parametrize(
    "status", ["401 U", "403 F", "404 N", "410 G", "204 No Content", "206 P", "304 N", "302 Found"]
)
async def test_a_status_other_than_200_is_permanent(status: str, path: Path) -> None:
    error = await error_of(response(b"" if status[0] in "23" else b"page", status), path)
    assert isinstance(error, SourceUrlStatusError)
    assert status[:3] in error.detail
    assert error.fault is Fault.JOB


# ── The limit of bytes ───────────────────────────────────────────────────────────────────────────


async def test_a_file_that_is_announced_as_too_large_is_not_received(path: Path) -> None:
    error = await error_of(response(b"x", length=LIMIT + 1), path)
    assert isinstance(error, SourceOverLimitError)
    assert content(path) == b""


@pytest.mark.parametrize("length", ["9" * 20, "9" * 5000, "-1", "1, 2"])
async def test_an_odd_length_is_an_error_of_the_server(length: str, path: Path) -> None:
    error = await error_of(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nx".encode(), path)
    assert isinstance(error, (SourceOverLimitError, SourceUrlUnavailableError))


async def test_an_endless_file_ends_at_the_limit(path: Path) -> None:
    error = await error_of(endless, path)
    assert isinstance(error, SourceOverLimitError)
    assert len(content(path)) <= LIMIT


async def test_room_is_made_before_the_bytes_are_stored(path: Path) -> None:
    body = os.urandom(2 * RESERVE_BYTES + 9)
    rooms: list[int] = []
    with serving({"/a": response(body), "/b": chunked(body)}) as server, downloads() as opened:
        for name in ("a", "b"):
            with path.with_name(name).open("xb", buffering=0) as file:
                await opened.get(f"{server.url}/{name}", file, max_bytes=len(body), reserve=rooms.append)
    assert rooms == 2 * [RESERVE_BYTES, 2 * RESERVE_BYTES, len(body)]


# ── Servers that fail ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "page",
    [
        response(b"", "500 Oops"),
        response(b"", "503 Busy"),
        response(b"", "429 Slow down"),
        response(b"", "408 Timeout"),
        response(PHOTO, length=len(PHOTO) + 1),
        chunked(PHOTO)[:-7],
        b"this is no HTTP\r\n\r\n",
        b"",
    ],
    ids=["500", "503", "429", "408", "incomplete", "incomplete chunks", "no HTTP", "closed"],
)
async def test_a_server_that_fails_is_asked_again_later(page: Page, path: Path) -> None:
    error = await error_of(page, path)
    assert isinstance(error, SourceUrlUnavailableError)
    assert (error.retryable, error.fault) == (True, Fault.SOURCE)


@pytest.mark.parametrize("page", [silent, dripping], ids=["silent", "dripping"])
async def test_a_slow_server_is_left(page: Page, path: Path) -> None:
    began = time.monotonic()
    error = await error_of(page, path, first_seconds=0.3)
    assert isinstance(error, SourceUrlUnavailableError)
    assert_within(1.5, began)


async def test_redirects_have_no_time_of_their_own(path: Path) -> None:
    def slow(connection: Any, server: ImageServer) -> None:  # noqa: ANN401
        server.closing.wait(0.2)
        connection.sendall(redirect("/a.jpg"))

    error = await error_of(slow, path, first_seconds=0.5)
    assert isinstance(error, SourceUrlUnavailableError)


async def test_a_full_disk_is_no_fault_of_the_server(full: BinaryIO) -> None:
    with (
        serving({"/a": response(PHOTO)}) as server,
        downloads() as opened,
        pytest.raises(OSError, match="No space"),
    ):
        await opened.get(f"{server.url}/a", full, max_bytes=LIMIT)


async def test_a_file_that_takes_less_at_a_time_is_complete(path: Path) -> None:
    class Grudging(FileIO):
        def write(self, data: Any) -> int:  # noqa: ANN401
            return super().write(data[:1000])

    with serving({"/a": response(PHOTO)}) as server, downloads() as opened, Grudging(path, "xb") as file:
        await opened.get(f"{server.url}/a", cast("BinaryIO", file), max_bytes=LIMIT)
    assert content(path) == PHOTO


# ── In a worker ──────────────────────────────────────────────────────────────────────────────────


class Fetching:
    """Fetches in threads, as attempts do."""

    def __init__(self, sources: UrlSources, folder: Path) -> None:
        self.sources = sources
        self.folder = folder
        self.results: list[object] = []
        self.end: list[Callable[[], None]] = []

    def fetch(self, url: str, user_id: str = "user") -> threading.Thread:
        thread = threading.Thread(target=self._fetch, args=(url, user_id), daemon=True)
        thread.start()
        return thread

    def _fetch(self, url: str, user_id: str) -> None:
        @contextmanager
        def interrupts(end: Callable[[], None]) -> Iterator[None]:
            self.end.append(end)
            yield

        with (self.folder / os.urandom(8).hex()).open("xb", buffering=0) as file:
            self.results.append(self._result(url, file, user_id, interrupts))

    def _result(self, url: str, file: BinaryIO, user_id: str, interrupts: Any) -> object:  # noqa: ANN401
        try:
            with self.sources.place(user_id, url) as place:
                return self.sources.fetch(
                    url, file, place, max_bytes=LIMIT, reserve=lambda _: None, interrupts=interrupts
                )
        except PixelflowError as error:
            return error


@pytest.fixture
def places() -> FetchPlaces:
    return FetchPlaces(16, clock=lambda: 0.0)


@pytest.fixture
def fetching(places: FetchPlaces, tmp_path: Path) -> Iterator[Fetching]:
    with downloads(first_seconds=60) as opened:
        yield Fetching(UrlSources(opened, places), tmp_path)


def test_a_download_ends_at_once_when_its_attempt_is_interrupted(fetching: Fetching, places: FetchPlaces) -> None:
    with serving({"/a": silent}) as server:
        thread = fetching.fetch(f"{server.url}/a")
        eventually(lambda: server.open)
        fetching.end[0]()
        thread.join(DEADLINE_SECONDS)
    [error] = fetching.results
    assert isinstance(error, SourceUrlUnavailableError)
    assert places.room == 8
    fetching.end[0]()  # later interruptions find no loop


def test_one_user_and_one_host_leave_places_to_others(fetching: Fetching, places: FetchPlaces) -> None:
    with serving({"/slow": silent, "/a": response(PHOTO)}) as slow, serving({"/a": response(PHOTO)}) as other:
        for user_id, count in (("user", 4), ("another", 2)):
            for _ in range(count):
                fetching.fetch(f"{slow.url}/slow", user_id)
        eventually(lambda: slow.open == 6)
        fetching.fetch(f"{other.url}/a").join(10)  # the user has half of eight places
        fetching.fetch(f"{slow.url}/a", "third").join(10)  # the host has three quarters
        assert [type(each) for each in fetching.results] == [SourcePostponedError] * 2
        assert set(places.resting) == {"user", "third"}, "the worker claims no such job of theirs for a moment"
        fetching.fetch(f"{other.url.replace('127.0.0.1', 'localhost')}/a", "another").join(10)
        assert fetching.results[2] == (len(PHOTO), hashlib.sha256(PHOTO).hexdigest())


def test_a_redirected_download_counts_for_the_host_that_it_is_redirected_to(
    fetching: Fetching, places: FetchPlaces
) -> None:
    with serving({"/slow": silent, "/a": response(PHOTO)}) as slow:
        elsewhere = slow.url.replace("127.0.0.1", "localhost")
        with serving({"/slow": redirect(f"{elsewhere}/slow"), "/a": redirect(f"{elsewhere}/a")}) as redirecting:
            for number in range(6):
                fetching.fetch(f"{redirecting.url}/slow", f"user-{number // 3}")
            eventually(lambda: slow.open == 6)
            fetching.fetch(f"{redirecting.url}/a", "third").join(10)
            assert [type(each) for each in fetching.results] == [SourcePostponedError]
            assert places.resting == ["third"]
            fetching.fetch(f"{slow.url}/a", "fourth").join(10)  # the host that redirected has its places again
            assert fetching.results[1] == (len(PHOTO), hashlib.sha256(PHOTO).hexdigest())
        for end in fetching.end:
            end()
        eventually(lambda: places.room == 8)
    with ExitStack() as stack:
        for number in range(6):
            stack.enter_context(places.place(f"user-{number}", "localhost"))


def test_a_redirected_download_waits_a_moment_for_a_place_and_asks_the_origin_once(
    fetching: Fetching, places: FetchPlaces
) -> None:
    """The URL may work only once."""
    with serving({"/a": response(PHOTO)}) as target, ExitStack() as busy:
        elsewhere = f"{target.url.replace('127.0.0.1', 'localhost')}/a"
        for number in range(6):
            busy.enter_context(places.place(f"user-{number}", "localhost"))
        with serving({"/once": [redirect(elsewhere), response(b"", "403 Used up")]}) as origin:
            thread = fetching.fetch(f"{origin.url}/once")
            eventually(lambda: origin.requests)
            busy.close()
            thread.join(10)
            assert len(origin.requests) == 1
    assert fetching.results == [(len(PHOTO), hashlib.sha256(PHOTO).hexdigest())]


def test_downloads_take_half_of_the_places_of_a_worker() -> None:
    now = 0.0
    places = FetchPlaces(8, clock=lambda: now)
    with ExitStack() as stack:
        for number in range(4):
            stack.enter_context(places.place(f"user-{number}", f"host-{number}"))
        assert places.room == 0
        with pytest.raises(SourcePostponedError), places.place("another", "other"):
            pass
    assert (places.room, places.resting) == (4, ["another"])
    now += PAUSE_SECONDS
    assert places.resting == []


def test_a_small_worker_has_one_place_for_downloads() -> None:
    places = FetchPlaces(1)
    with places.place("user", "host"):
        assert places.room == 0
    assert places.room == 1


def test_a_user_who_waits_for_a_slow_server_does_not_delay_the_sources_of_others(
    connection: Connection, database: Database
) -> None:
    places, ended = FetchPlaces(8), Counter[str]()

    def process(job: ClaimedJob, _: int) -> None:
        try:
            with places.place(job.user_id, job.user_id):
                ended[job.user_id] += 1
        except SourcePostponedError:
            ended[f"{job.user_id} postponed"] += 1
            release(connection, job.lease, delay=timedelta(seconds=1), counted=False, error=None, **NOTHING_SPENT)
        else:
            fail(connection, job.lease, error={"code": "x"}, **NOTHING_SPENT)

    claims = ClaimLoop(
        database,
        Worker("test", [*CAPABILITIES, URL_SOURCES], slots=4),
        lease=LEASE,
        limits=ClaimLimits(lambda: 8, room_of={URL_SOURCES: lambda: places.room}, resting=lambda: places.resting),
        submit=process,
        wakeups=MagicMock(),
    )
    for user_id in ("slow", "fast"):
        for _ in range(30):
            put(connection, user_id=user_id, source_type="url", source_url="https://x.example", requires=[URL_SOURCES])
    with places.place("slow", "slow"), places.place("slow", "slow"):
        while claims.run_once():
            pass
        assert ended["fast"] == 30
        assert ended["slow"] == 0
        assert 1 <= ended["slow postponed"] <= 8

    def slow_has_ended() -> bool:
        claims.look_around()  # makes delayed jobs claimable
        claims.run_once()
        return ended["slow"] == 30

    eventually(slow_has_ended)


async def test_no_resolver_thread_is_no_fault_of_the_job(path: Path) -> None:
    async def resolve(_: str) -> list[Any]:
        raise DependencyError("All resolver threads are busy")

    with pytest.raises(DependencyError) as raised:
        await get("https://img.example/a", path, resolve=resolve)
    assert raised.value.fault is Fault.SERVICE
