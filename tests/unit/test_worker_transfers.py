"""Sources at hand have a bound, whatever the number of places; a canceled upload is no success."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, cast
from unittest.mock import MagicMock
from uuid import UUID

import pytest
from tests.support.waiting import DEADLINE_SECONDS, eventually

from pixelflow.adapters.storage.interrupts import Interrupts, Reserve
from pixelflow.contracts.jobs.sources import SourceType
from pixelflow.dataplane.worker.bucket_places import PATIENCE_SECONDS, BucketPlaces
from pixelflow.dataplane.worker.inputs import InputFetcher
from pixelflow.dataplane.worker.leases import ActiveLease, LeaseLostError, ShutdownRequestedError
from pixelflow.dataplane.worker.source_room import BytesAtHand, NoRoomError
from pixelflow.dataplane.worker.store import Lease
from pixelflow.dataplane.worker.transfers import Transfers
from pixelflow.dataplane.worker.url_sources import FetchPlaces, UrlSources
from pixelflow.errors import DestinationUnavailableError, Fault, SourceGoneError

SOURCE = b"x" * 100
LIMIT = 2 * len(SOURCE)


class Storage:
    """Counts the bytes that are received and not removed."""

    def __init__(self) -> None:
        self.fetches = self.bytes = self.most = 0
        self._lock = threading.Lock()
        self.error: Exception | None = None

    def fetch(
        self, key: str, file: BinaryIO, *, max_bytes: int, version: str, reserve: Reserve, interrupts: Interrupts
    ) -> tuple[int, str]:
        del key, max_bytes, version, interrupts
        self.fetches += 1
        reserve(len(SOURCE))
        if self.error:
            raise self.error
        self.count(len(SOURCE))
        file.write(SOURCE)
        return len(SOURCE), ""

    def count(self, size: int) -> None:
        with self._lock:
            self.bytes += size
            self.most = max(self.most, self.bytes)


@pytest.fixture
def storage() -> Storage:
    return Storage()


@pytest.fixture
def transfers(storage: Storage) -> Iterator[Transfers]:
    storages: Any = {"s3_presigned": storage}
    made = Transfers(storages, assets=MagicMock(), health=MagicMock(), max_source_bytes=len(SOURCE), parallel_uploads=1)
    yield made
    made.close()


def _lease() -> ActiveLease:
    return ActiveLease(Lease(UUID(int=1), 1), until=0)


def _job() -> Any:  # noqa: ANN401
    return MagicMock(source_type="s3_presigned", source_key="key", declared_sha256=None, destination=None)


def test_sources_of_many_places_stay_below_the_limit(transfers: Transfers, storage: Storage, tmp_path: Path) -> None:
    def process(number: int) -> None:
        path = tmp_path / str(number)
        with transfers.room("s3_presigned") as room:
            transfers.fetch(_job(), _lease(), path, room)
            time.sleep(0.02)
            path.unlink()
            storage.count(-len(SOURCE))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(process, range(16)))
    assert storage.most == LIMIT


def test_room_is_given_back_after_an_error(transfers: Transfers, storage: Storage, tmp_path: Path) -> None:
    storage.error = SourceGoneError("gone")
    for number in range(5):
        with transfers.room("s3_presigned") as room, pytest.raises(SourceGoneError):
            transfers.fetch(_job(), _lease(), tmp_path / str(number), room)
    assert storage.fetches == 5, "nobody waited"


@pytest.mark.parametrize("type_", ["url", "bucket"])
def test_sources_at_other_servers_take_no_room_of_the_others(transfers: Transfers, tmp_path: Path, type_: str) -> None:
    with transfers.room(type_) as one, transfers.room(type_) as two, transfers.room("s3_presigned") as room:
        for slow in (one, two):
            slow.reserve(len(SOURCE))
        transfers.fetch(_job(), _lease(), tmp_path / "source", room)
        assert room.size == len(SOURCE)


def test_sources_by_url_that_wait_for_room_keep_their_places(tmp_path: Path) -> None:
    async def get(_: str, file: BinaryIO, *, reserve: Reserve, **__: object) -> tuple[int, str]:
        reserve(len(SOURCE))
        file.write(SOURCE)
        return len(SOURCE), ""

    places = FetchPlaces(8)
    urls = UrlSources(MagicMock(get=get), places)
    made = Transfers(
        {}, assets=MagicMock(), urls=urls, health=MagicMock(), max_source_bytes=len(SOURCE), parallel_uploads=1
    )
    job = _job()
    job.source_type, job.source_url, job.user_id = "url", "https://img.example/a", "user"
    with closing(made), made.room("url") as one, made.room("url") as two, made.room("url") as room:
        for slow in (one, two):
            slow.reserve(len(SOURCE))
        thread = threading.Thread(target=made.fetch, args=(job, _lease(), tmp_path / "source", room))
        thread.start()
        eventually(lambda: made._at_hand_of[SourceType.URL]._waiting)
        assert places.room == 3
        made._at_hand_of[SourceType.URL].change(one, 0)
        thread.join(DEADLINE_SECONDS)
        assert room.size == len(SOURCE)
        assert places.room == 4


def test_a_large_source_is_not_overtaken_by_small_ones() -> None:
    at_hand = BytesAtHand(10)
    with at_hand.room() as first, at_hand.room() as large, at_hand.room() as small:
        first.reserve(5)
        thread = threading.Thread(target=large.wait, args=(8, _lease()))
        thread.start()
        eventually(lambda: at_hand._waiting)
        with pytest.raises(NoRoomError):
            small.reserve(1)
        first.reserve(5)
        at_hand.change(first, 0)
        thread.join(DEADLINE_SECONDS)
        assert large.size == 8
        small.reserve(1)


def test_an_interrupted_lease_ends_the_wait_for_room() -> None:
    at_hand, lease = BytesAtHand(10), _lease()
    lease.interrupt(ShutdownRequestedError())
    with at_hand.room() as first, at_hand.room() as second, at_hand.room() as third:
        first.reserve(10)
        with pytest.raises(ShutdownRequestedError):
            second.wait(1, lease)
        at_hand.change(first, 0)
        third.reserve(10)


def test_a_canceled_upload_is_no_success(transfers: Transfers) -> None:
    blocked = threading.Event()
    transfers._uploads.submit(blocked.wait, 60)
    outputs: Any = [("first", None), ("second", None)]
    put: Callable[..., None] = lambda *_: None  # noqa: E731
    with ThreadPoolExecutor(1) as pool:
        stored: Future[None] = pool.submit(transfers._put_all, put, outputs)
        eventually(transfers._uploads._work_queue.qsize)
        transfers.close()
        blocked.set()
        with pytest.raises(ShutdownRequestedError):
            stored.result(DEADLINE_SECONDS)


def test_a_job_that_stores_its_outputs_after_the_end_is_released(transfers: Transfers) -> None:
    transfers.close()
    outputs: Any = [("first", None), ("second", None)]
    with pytest.raises(ShutdownRequestedError):
        transfers._put_all(lambda *_: None, outputs)


def test_a_thread_that_can_not_start_ends_no_upload_before_it_read_its_output(
    transfers: Transfers, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: list[str] = []
    submit = transfers._uploads.submit

    def second_fails(put: Callable[..., None], output: str, content: None) -> Future[None]:
        if output == "third":
            raise RuntimeError("can't start new thread")
        return submit(put, output, content)

    def put(output: str, _content: None) -> None:
        time.sleep(0.1)
        stored.append(output)

    monkeypatch.setattr(transfers._uploads, "submit", second_fails)
    outputs: Any = [("first", None), ("second", None), ("third", None)]
    with pytest.raises(RuntimeError, match="new thread"):
        transfers._put_all(put, outputs)  # type: ignore[arg-type]  # of strings
    assert stored == ["second"]


def test_the_outputs_of_a_job_take_no_thread_of_the_others_before_its_destination_answers(transfers: Transfers) -> None:
    def put(*_: object) -> None:
        raise DestinationUnavailableError("no answer")

    outputs: Any = [("first", None), ("second", None)]
    with pytest.raises(DestinationUnavailableError):
        transfers._put_all(put, outputs, is_first_alone=True)
    assert not transfers._uploads._threads


def test_a_job_is_not_processed_while_its_destination_takes_long(storage: Storage, tmp_path: Path) -> None:
    now = 0.0
    places, storages = BucketPlaces(1, clock=lambda: now), cast("Any", {"s3_presigned": storage})
    made = Transfers(
        storages,
        assets=MagicMock(),
        bucket_places=places,
        health=MagicMock(),
        max_source_bytes=len(SOURCE),
        parallel_uploads=1,
    )
    job = _job()
    job.destination = {"bucket": "b", "key": "k", "resolved_key": "k"}
    with closing(made), made.room("s3_presigned") as room, places.place("silent", AssertionError()):
        now += PATIENCE_SECONDS
        with pytest.raises(DestinationUnavailableError, match="takes long to store"):
            made.fetch(job, _lease(), tmp_path / "source", room)
    assert storage.fetches == 0


@pytest.mark.parametrize("version", [None, "v1"])
def test_only_the_first_attempt_records_the_version_of_its_source(tmp_path: Path, version: str | None) -> None:
    def fetch(*_: object, pin: Callable[[str], object], **__: object) -> tuple[int, str]:
        pin("v1")
        return 1, ""

    database, job = MagicMock(), _job()
    job.source_version = version
    with InputFetcher(database, MagicMock(fetch=fetch), tmp_path).fetched(job, _lease(), []):
        assert database.connection.called is (version is None)


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_bucket_that_does_not_answer_does_not_degrade_the_worker(*, interrupted: bool) -> None:
    """It may be any server. The attempt does not count, and jobs with other destinations continue."""
    health, buckets, storages = MagicMock(), MagicMock(), MagicMock()
    buckets.store.side_effect = DestinationUnavailableError("no answer")
    transfers = Transfers(
        {"s3_presigned": storages},
        assets=MagicMock(),
        buckets=buckets,
        health=health,
        max_source_bytes=1,
        parallel_uploads=1,
    )
    output = MagicMock(step_id="a", format="webp", width=5, height=4, sha256="0" * 64, bytes=1)
    job = _job()
    job.pipeline, job.destination = [{"id": "a", "action": "resize"}], {"bucket": "b", "key": "k", "resolved_key": "k"}
    lease = _lease()
    if interrupted:
        lease.interrupt(LeaseLostError())
    expected = LeaseLostError if interrupted else DestinationUnavailableError
    with pytest.raises(expected):
        transfers.store(job, lease, MagicMock(outputs=[output]))
    health.record_failure.assert_not_called()
    assert DestinationUnavailableError.fault is Fault.SERVICE
