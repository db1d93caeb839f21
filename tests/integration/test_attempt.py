"""One attempt with a real database, object storage and children: every possible outcome."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import IO, Any, BinaryIO
from unittest.mock import MagicMock
from uuid import UUID, uuid4

import obstore
import psycopg
import pytest
from opentelemetry.trace import NoOpTracer
from prometheus_client import CollectorRegistry
from psycopg.types.json import Jsonb
from structlog.testing import capture_logs
from tests.acceptance import pictures
from tests.integration.job_rows import claim, claimed, make_due, put, queue_row, row_of, rows, steal
from tests.support.image_server import response, serving, silent
from tests.support.otlp_collector import collecting
from tests.support.scraped import scraped
from tests.support.waiting import assert_within, eventually

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.outbound_http import Downloads, OutboundHttp, OutboundRule
from pixelflow.adapters.postgres.database import Connection, Database
from pixelflow.adapters.storage.buckets import NamedBuckets
from pixelflow.adapters.storage.interrupts import Interrupts, Reserve
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage, asset_key, source_key
from pixelflow.adapters.telemetry.tracing import open_tracer
from pixelflow.dataplane.worker.attempt import AttemptRunner, JobLimits
from pixelflow.dataplane.worker.health import Reason, WorkerHealth
from pixelflow.dataplane.worker.leases import ActiveLease, LeaseLostError, ShutdownRequestedError
from pixelflow.dataplane.worker.metrics import WorkerMetrics
from pixelflow.dataplane.worker.retry import MAX_SERVICE_RETRY_SECONDS
from pixelflow.dataplane.worker.sandbox import Sandbox
from pixelflow.dataplane.worker.store import ClaimedJob
from pixelflow.dataplane.worker.template import ChildLimits
from pixelflow.dataplane.worker.transfers import AssetStorage, Storage, Transfers
from pixelflow.dataplane.worker.url_sources import FetchPlaces, UrlSources
from pixelflow.devstack.stack import Stack
from pixelflow.errors import ObjectsUnavailableError, StoreUnavailableError, TransformPostponedError, UndecodableError
from pixelflow.imaging.protocol import TransformLimits
from pixelflow.settings import Settings
from pixelflow.settings.buckets import NamedBucket

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LIMITS = JobLimits(
    max_wait_seconds=3600,
    transform=TransformLimits(max_source_pixels=10**6, max_output_pixels=10**6, max_output_bytes=10**9),
)

LOCAL = OutboundRule((ip_network("127.0.0.0/8"),), allow_http=True)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    limits = ChildLimits(memory_bytes=2_000_000_000, seconds=30)
    sandbox = Sandbox(slots=1, limits=limits, scratch=tmp_path_factory.getbasetemp())
    sandbox.start()
    yield sandbox
    sandbox.close()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> WorkerMetrics:
    return WorkerMetrics(registry)


@pytest.fixture(scope="session")
def storage(quiet_stack: Stack) -> ObjectStorage:
    names = {name.removeprefix("PIXELFLOW_").lower(): value for name, value in quiet_stack.environment.items()}
    return ObjectStorage(Settings.model_validate(names))


class Unavailable:
    """A storage that is unavailable."""

    def fetch(
        self, key: str, file: BinaryIO, *, max_bytes: int, version: str, reserve: Reserve, interrupts: Interrupts
    ) -> tuple[int, str]:
        del key, file, max_bytes, version, reserve, interrupts
        raise ObjectsUnavailableError("Object storage is not available; try again shortly")

    def output_prefix(self, source: str, job_id: UUID, attempt: int) -> str:
        raise NotImplementedError

    def store(self, file: object, key: str, *, media_type: str, sha256: str, interrupts: Interrupts) -> None:
        raise NotImplementedError


class Broken(Unavailable):
    """A storage that raises an unexpected error."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error or ValueError("a bug")

    def fetch(
        self, key: str, file: BinaryIO, *, max_bytes: int, version: str, reserve: Reserve, interrupts: Interrupts
    ) -> tuple[int, str]:
        del key, file, max_bytes, version, reserve, interrupts
        raise self._error


@pytest.fixture
def health(tmp_path: Path) -> WorkerHealth:
    return WorkerHealth(scratch=tmp_path, min_free_bytes=0)


class DatabaseAway:
    """A database that is not available."""

    def connection(self) -> AbstractContextManager[Connection]:
        raise StoreUnavailableError("The database is not available")


@pytest.fixture
def run(  # noqa: PLR0917  # fixtures
    database: Database,
    sandbox: Sandbox,
    storage: ObjectStorage,
    metrics: WorkerMetrics,
    health: WorkerHealth,
    tmp_path: Path,
) -> Callable[..., None]:
    """Runs an attempt at a claimed job."""
    scratch = tmp_path_of(sandbox, tmp_path)

    def run(
        job: ClaimedJob,
        lease: ActiveLease | None = None,
        storages: Mapping[str, Storage] | None = None,
        assets: AssetStorage | None = None,
        **replaced: Any,  # noqa: ANN401  # constructor arguments
    ) -> None:
        transfers = Transfers(
            storages or {"s3_presigned": storage},
            assets=assets or storage,
            health=health,
            max_source_bytes=1_000_000,
            parallel_uploads=2,
        )
        arguments: dict[str, Any] = {
            "database": database,
            "sandbox": sandbox,
            "transfers": transfers,
            "health": health,
            "limits": LIMITS,
            "scratch": scratch,
            "metrics": metrics,
            "tracer": NoOpTracer(),
            "jitter": lambda: 0.0,
            **replaced,
        }
        AttemptRunner(**arguments).run(job, lease or ActiveLease(job.lease, until=0), claim_start_ns=time.time_ns())
        transfers.close()
        assert list(scratch.iterdir()) == [], "the scratch folder must be empty"

    return run


def tmp_path_of(sandbox: Sandbox, tmp_path: Path) -> Path:
    """A scratch folder on the same file system as the children's folders."""
    assert tmp_path.is_relative_to(sandbox._scratch)
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def _job(connection: Connection, storage: ObjectStorage, source: bytes, **columns: Any) -> ClaimedJob:  # noqa: ANN401
    job = claimed(connection, **columns)
    obstore.put(storage._metadata_store, source_key(job.job_id), source)
    connection.execute("UPDATE jobs SET source_key = %s WHERE job_id = %s", (source_key(job.job_id), job.job_id))
    return ClaimedJob(**{**vars(job), "source_key": source_key(job.job_id)})


def test_success_stores_outputs_under_the_prefix_of_the_attempt(
    connection: Connection, storage: ObjectStorage, run: Callable[..., None]
) -> None:
    source = pictures.photo()
    job = _job(connection, storage, source)
    run(job)
    row = row_of(connection, job.job_id)
    assert (row["status"], row["source_sha256"]) == ("succeeded", hashlib.sha256(source).hexdigest())
    (output,) = rows(connection, "outputs", job.job_id)
    assert output["object_key"] == f"outputs/{job.job_id}/1/small.jpg"
    kept = bytes(obstore.get(storage._metadata_store, output["object_key"]).bytes())
    assert (len(kept), hashlib.sha256(kept).hexdigest()) == (output["bytes"], output["sha256"])
    (usage,) = rows(connection, "usage_logs", job.job_id)
    assert usage["pixels_processed"] == 60 * 40
    (attempt,) = rows(connection, "attempts", job.job_id)
    assert attempt["stages"].keys() >= {"fetch", "wait", "transform", "store"}


@pytest.mark.parametrize(
    ("source", "code"),
    [
        pytest.param(b"text", "unsupported_format", id="rejected by the child"),
        pytest.param(bytes(1_000_001), "source_too_large", id="too large"),
        pytest.param(pictures.photo(2000, 1000), "too_many_pixels", id="too many pixels"),
    ],
)
def test_an_unusable_source_fails_the_job(
    connection: Connection, storage: ObjectStorage, run: Callable[..., None], source: bytes, code: str
) -> None:
    job = _job(connection, storage, source)
    run(job)
    row = row_of(connection, job.job_id)
    assert (row["status"], row["error"]["code"]) == ("failed", code)
    assert [each["outcome"] for each in rows(connection, "attempts", job.job_id)] == ["failed"]


@pytest.mark.parametrize(
    "pinned", [{"source_version": "another"}, {"source_version": "modified:1"}, {"declared_sha256": "0" * 64}], ids=str
)
def test_another_source_than_that_of_the_start_fails_the_job(
    connection: Connection, storage: ObjectStorage, run: Callable[..., None], pinned: dict[str, Any]
) -> None:
    job = _job(connection, storage, pictures.photo())
    is_compared = "modified" in pinned.get("source_version", "modified")  # this server sends no ETag
    run(dataclasses.replace(job, **pinned))
    row = row_of(connection, job.job_id)
    assert (row["error"] or {}).get("code") == ("source_changed" if is_compared else None)


def test_a_missing_source_fails_the_job(connection: Connection, run: Callable[..., None]) -> None:
    job = claimed(connection, source_key="uploads/nothing/source")
    run(job)
    assert row_of(connection, job.job_id)["error"]["code"] == "source_gone"


def test_an_unavailable_storage_requeues_the_job_with_a_delay_and_does_not_count(
    connection: Connection, run: Callable[..., None]
) -> None:
    job = claimed(connection)
    run(job, storages={"s3_presigned": Unavailable()})
    row = row_of(connection, job.job_id)
    assert (row["status"], row["attempts"], row["error"]["code"]) == ("queued", 0, "objects_unavailable")
    queued = queue_row(connection, job.job_id)
    assert queued
    assert (queued["state"], queued["due_at"] > datetime.now(UTC)) == ("delayed", True)
    assert [each["outcome"] for each in rows(connection, "attempts", job.job_id)] == ["retried"]


def test_the_reason_of_a_failure_that_can_not_be_recorded_is_in_the_log(
    connection: Connection, run: Callable[..., None]
) -> None:
    job = claimed(connection)
    with capture_logs() as logs:
        run(job, storages={"s3_presigned": Unavailable()}, database=DatabaseAway())
    assert row_of(connection, job.job_id)["status"] == "processing", "until the lease expires"
    (line,) = [each for each in logs if each["event"] == "outcome not recorded: database unavailable"]
    assert (line["code"], line["failure"], line["reason"]) == (
        "store_unavailable",
        "objects_unavailable",
        "Object storage is not available; try again shortly",
    )


def test_all_attempts_belong_to_the_trace_of_the_request(
    connection: Connection, storage: ObjectStorage, run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = _job(connection, storage, pictures.photo(), traceparent=TRACEPARENT)
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        with open_tracer(role="worker") as tracer:
            run(job, tracer=tracer, storages={"s3_presigned": Unavailable()})
            make_due(connection)
            again = claim(connection, job.job_id)
            run(again, tracer=tracer)
        attempts = [span for span in collector.spans if span.name == "attempt"]
    assert {(span.trace_id, span.parent_id) for span in attempts} == {tuple(TRACEPARENT.split("-")[1:3])}
    assert [(span.attributes["pixelflow.outcome"], span.attributes.get("error.type")) for span in attempts] == [
        ("retried", "objects_unavailable"),
        ("succeeded", None),
    ]
    fetched = [span for span in collector.spans if span.name == "fetch"]
    assert [(span.failed, span.parent_id) for span in fetched] == [
        (True, attempts[0].span_id),
        (False, attempts[1].span_id),
    ]


def test_failure_of_the_last_attempt_fails_the_job(connection: Connection, run: Callable[..., None]) -> None:
    job = claimed(connection, max_attempts=1)
    run(job, storages={"s3_presigned": Broken()})
    row = row_of(connection, job.job_id)
    assert (row["status"], row["error"]["code"]) == ("failed", "attempts_exhausted")


class BrokenMetrics(WorkerMetrics):
    """Metrics that raise an error, outside of what an attempt does for its job."""

    def __init__(self, error: Exception) -> None:
        super().__init__(CollectorRegistry())
        self._error = error

    def record_wait(self, priority: int, seconds: float) -> None:
        del priority, seconds
        raise self._error


@pytest.mark.parametrize(
    ("broken", "raised"),
    [
        pytest.param({"metrics": BrokenMetrics(ValueError("a bug"))}, ValueError, id="before the attempt"),
        pytest.param(
            {"storages": {"s3_presigned": Broken(UndecodableError("\0"))}}, psycopg.DataError, id="at its outcome"
        ),
    ],
)
def test_a_bug_around_an_attempt_releases_the_job_at_once_and_counts(
    connection: Connection, run: Callable[..., None], broken: dict[str, Any], raised: type[Exception]
) -> None:
    job_id = put(connection, max_attempts=2)
    with pytest.raises(raised):
        run(claim(connection, job_id), **broken)
    row = row_of(connection, job_id)
    assert (row["status"], row["attempts"], row["error"]["code"]) == ("queued", 1, "transform_crashed")
    make_due(connection)
    with pytest.raises(raised):
        run(claim(connection, job_id), **broken)
    row = row_of(connection, job_id)
    assert (row["status"], row["attempts"], row["error"]["code"]) == ("failed", 2, "attempts_exhausted")
    assert [each["outcome"] for each in rows(connection, "attempts", job_id)] == ["retried", "failed"]


def test_a_shortage_around_an_attempt_does_not_count(
    connection: Connection, run: Callable[..., None], health: WorkerHealth
) -> None:
    job = claimed(connection, max_attempts=1)
    with pytest.raises(OSError, match="No space left"):
        run(job, metrics=BrokenMetrics(OSError(errno.ENOSPC, "No space left on device")))
    row = row_of(connection, job.job_id)
    assert (row["status"], row["attempts"], row["error"]["code"]) == ("queued", 0, "worker_unavailable")
    assert health.reasons == [Reason.RESOURCES]


def test_a_bug_after_an_attempt_leaves_its_outcome(
    connection: Connection, storage: ObjectStorage, run: Callable[..., None]
) -> None:
    def fail(_: str) -> None:
        raise ValueError("a bug")

    job = _job(connection, storage, pictures.photo())
    with capture_logs() as logs, pytest.raises(ValueError, match="a bug"):
        run(job, on_end=fail)
    assert row_of(connection, job.job_id)["status"] == "succeeded"
    assert [each["event"] for each in logs] == ["succeeded"], "the attempt has not failed"


def test_a_job_waits_for_the_service_at_any_number_of_attempts(
    connection: Connection, run: Callable[..., None]
) -> None:
    job_id = put(connection, max_attempts=1, queued_at=datetime.now(UTC))
    delays = []
    for _ in range(4):
        make_due(connection)
        job = claim(connection, job_id)
        assert job
        run(job, storages={"s3_presigned": Unavailable()})
        row = row_of(connection, job_id)
        assert (row["status"], row["attempts"]) == ("queued", 0)
        queued = queue_row(connection, job_id)
        assert queued
        delays.append((queued["due_at"] - datetime.now(UTC)).total_seconds())
    assert delays == sorted(delays), "growing"
    assert delays[-1] <= MAX_SERVICE_RETRY_SECONDS


def test_a_job_that_waited_too_long_for_the_service_fails(connection: Connection, run: Callable[..., None]) -> None:
    job = claimed(connection, queued_at=datetime.now(UTC) - timedelta(seconds=LIMITS.max_wait_seconds + 1))
    run(job, storages={"s3_presigned": Unavailable()})
    row = row_of(connection, job.job_id)
    assert (row["status"], row["error"]["code"]) == ("failed", "service_unavailable")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(OSError(errno.ENOSPC, "No space left on device"), Reason.RESOURCES, id="disk full"),
        pytest.param(OSError(errno.EMFILE, "Too many open files"), Reason.RESOURCES, id="too many files"),
        pytest.param(MemoryError(), Reason.RESOURCES, id="no memory"),
    ],
)
def test_a_worker_that_lacks_resources_releases_its_job_uncounted_and_claims_no_more(
    connection: Connection, run: Callable[..., None], health: WorkerHealth, error: Exception, reason: Reason
) -> None:
    job = claimed(connection, max_attempts=1)
    run(job, storages={"s3_presigned": Broken(error)})
    row = row_of(connection, job.job_id)
    assert (row["status"], row["attempts"], row["error"]["code"]) == ("queued", 0, "worker_unavailable")
    assert health.reasons == [reason]


def test_a_local_file_that_can_not_be_read_takes_no_worker_out(
    connection: Connection, run: Callable[..., None], health: WorkerHealth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the memory of a process gives EIO."""
    monkeypatch.setattr(LocalFiles, "_require_outputs", lambda *_: None)  # nobody can write beside it
    memory = Path(f"/proc/{os.getpid()}/mem")
    job = claimed(connection, source_type="local_file", source_key=str(memory), max_attempts=1)
    run(job, storages={"local_file": LocalFiles((memory.parent,))})
    row = row_of(connection, job.job_id)
    assert (row["status"], row["attempts"], row["error"]["code"]) == ("queued", 0, "objects_unavailable")
    assert health.reasons == []


def test_a_child_that_can_not_start_is_not_the_fault_of_the_job(
    connection: Connection, storage: ObjectStorage, run: Callable[..., None], health: WorkerHealth, tmp_path: Path
) -> None:
    job = _job(connection, storage, pictures.photo(), max_attempts=1)
    limits = ChildLimits(memory_bytes=2_000_000_000, seconds=30)
    broken = Sandbox(slots=1, limits=limits, scratch=tmp_path / "scratch", program=("-c", "raise SystemExit(1)"))
    run(job, sandbox=broken)
    broken.close()
    row = row_of(connection, job.job_id)
    assert (row["status"], row["attempts"], row["error"]["code"]) == ("queued", 0, "worker_unavailable")
    assert health.reasons == [Reason.CHILD_START]


class Postponing:
    """A sandbox that runs nothing of the user for 50 s."""

    @contextmanager
    def slot(self) -> Iterator[Callable[..., None]]:
        def transform(*_: object) -> None:
            raise TransformPostponedError("Too many crashes", retry_after_seconds=50)

        yield transform


def test_a_job_of_a_user_whose_pictures_crash_children_waits_uncounted(
    connection: Connection, storage: ObjectStorage, run: Callable[..., None], health: WorkerHealth
) -> None:
    job = _job(connection, storage, pictures.photo(), max_attempts=1)
    run(job, sandbox=Postponing())
    row = row_of(connection, job.job_id)
    assert (row["status"], row["attempts"], row["error"]["code"]) == ("queued", 0, "transform_postponed")
    queued = queue_row(connection, job.job_id)
    assert queued
    assert 49 < (queued["due_at"] - datetime.now(UTC)).total_seconds() <= 50
    assert health.reasons == []


CRASHING = """
import ctypes
from pixelflow.dataplane.child import main, serving
serving.Transform = lambda *_: ctypes.string_at(0)
main.main()
"""
"""A child whose decoder reads from the address 0."""


def test_an_image_that_crashes_its_child_in_every_attempt_fails_by_a_code_of_its_own(
    connection: Connection,
    storage: ObjectStorage,
    run: Callable[..., None],
    registry: CollectorRegistry,
    tmp_path: Path,
) -> None:
    job = _job(connection, storage, pictures.photo(), max_attempts=2)
    limits = ChildLimits(memory_bytes=2_000_000_000, seconds=30)
    crashing = Sandbox(slots=1, limits=limits, scratch=tmp_path, program=("-c", CRASHING))
    run(job, sandbox=crashing)
    row = row_of(connection, job.job_id)
    assert (row["status"], row["attempts"], row["error"]["code"]) == ("queued", 1, "transform_crashed")
    make_due(connection)
    run(claim(connection, job.job_id), sandbox=crashing)
    crashing.close()
    row = row_of(connection, job.job_id)
    assert (row["status"], row["attempts"], row["error"]["code"]) == ("failed", 2, "decoder_crashed")
    assert row["error"]["message"].startswith("The code that decodes this image crashed (SIGSEGV) in attempt 2 of 2.")
    failures = scraped(registry).by("code", "pixelflow_worker_failures_total")
    assert failures == {"transform_crashed": 1, "decoder_crashed": 1}


class Hanging(Unavailable):
    """A storage whose transfers hang until they are ended."""

    def fetch(
        self, key: str, file: BinaryIO, *, max_bytes: int, version: str, reserve: Reserve, interrupts: Interrupts
    ) -> tuple[int, str]:
        ended = threading.Event()
        with interrupts(ended.set):
            assert ended.wait(60)
        return super().fetch(key, file, max_bytes=max_bytes, version=version, reserve=reserve, interrupts=interrupts)


def test_a_transfer_that_hangs_ends_when_the_lease_is_interrupted(
    connection: Connection, run: Callable[..., None], health: WorkerHealth
) -> None:
    job = claimed(connection)
    lease = ActiveLease(job.lease, until=0)
    threading.Timer(0.1, lease.interrupt, [ShutdownRequestedError()]).start()
    began = time.monotonic()
    run(job, lease, storages={"s3_presigned": Hanging()})
    assert_within(1, began)
    row = row_of(connection, job.job_id)
    assert (row["status"], row["attempts"], row["error"]) == ("queued", 0, None)
    assert health.may_claim(), "the storage did not fail"


class Together:
    """Object storage where no upload ends before so many have begun."""

    def __init__(self, storage: ObjectStorage, count: int) -> None:
        self._storage, self._all_begun = storage, threading.Barrier(count)
        self.fetch, self.output_prefix = storage.fetch, storage.output_prefix

    def store(self, file: IO[bytes], key: str, *, media_type: str, sha256: str, interrupts: Interrupts) -> None:
        self._all_begun.wait(60)
        self._storage.store(file, key, media_type=media_type, sha256=sha256, interrupts=interrupts)


def test_outputs_are_stored_in_parallel(
    connection: Connection, storage: ObjectStorage, run: Callable[..., None]
) -> None:
    steps = [{"id": f"s{number}", "action": "resize", "width": 20 + number} for number in range(3)]
    job = _job(connection, storage, pictures.photo(), pipeline=Jsonb(steps))
    run(job, storages={"s3_presigned": Together(storage, 3)})
    assert [row["step_id"] for row in rows(connection, "outputs", job.job_id)] == ["s0", "s1", "s2"]


class Kept:
    """Object storage whose files stay open, as in a child that was taken over."""

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage
        self.descriptors: list[int] = []
        self.output_prefix, self.store = storage.output_prefix, storage.store

    def fetch(
        self, key: str, file: BinaryIO, *, max_bytes: int, version: str, reserve: Reserve, interrupts: Interrupts
    ) -> tuple[int, str]:
        self.descriptors.append(os.dup(file.fileno()))
        return self._storage.fetch(
            key, file, max_bytes=max_bytes, version=version, reserve=reserve, interrupts=interrupts
        )


def test_a_source_that_a_child_keeps_open_takes_no_disk(
    connection: Connection, storage: ObjectStorage, run: Callable[..., None]
) -> None:
    job, kept = _job(connection, storage, pictures.photo()), Kept(storage)
    run(job, storages={"s3_presigned": kept})
    assert row_of(connection, job.job_id)["status"] == "succeeded"
    (source,) = kept.descriptors
    assert os.fstat(source).st_size == 0
    os.close(source)


def test_a_shutdown_requeues_the_job_at_once_without_counting_the_attempt(
    connection: Connection, storage: ObjectStorage, run: Callable[..., None]
) -> None:
    job = _job(connection, storage, pictures.photo())
    lease = ActiveLease(job.lease, until=0)
    lease.interrupt(ShutdownRequestedError())
    run(job, lease, storages={"s3_presigned": Broken()})  # which would fail a fetch
    row = row_of(connection, job.job_id)
    assert (row["status"], row["attempts"], row["error"]) == ("queued", 0, None)
    assert claim(connection, job.job_id)


def test_an_attempt_with_a_lost_lease_writes_nothing(
    connection: Connection, storage: ObjectStorage, run: Callable[..., None]
) -> None:
    job = _job(connection, storage, pictures.photo())
    lease = ActiveLease(job.lease, until=0)
    lease.interrupt(LeaseLostError())
    before = row_of(connection, job.job_id)
    run(job, lease)
    assert row_of(connection, job.job_id) == before


def test_a_job_claimed_by_another_worker_meanwhile_is_not_finished(
    connection: Connection, storage: ObjectStorage, run: Callable[..., None]
) -> None:
    job = _job(connection, storage, pictures.photo())
    steal(connection)
    run(job)
    assert row_of(connection, job.job_id)["status"] == "processing"
    assert rows(connection, "outputs", job.job_id) == []
    assert rows(connection, "usage_logs", job.job_id) == []


def test_the_error_of_a_failed_job_contains_no_path_and_no_key(
    connection: Connection, storage: ObjectStorage, run: Callable[..., None], tmp_path: Path
) -> None:
    job = _job(connection, storage, pictures.photo()[:200])
    run(job)
    error = json.dumps(row_of(connection, job.job_id)["error"])
    assert str(tmp_path) not in error
    assert "uploads/" not in error


# ── Metrics ──────────────────────────────────────────────────────────────────────────────────────


def test_a_success_counts_the_usage_in_usage_logs(
    connection: Connection, storage: ObjectStorage, run: Callable[..., None], registry: CollectorRegistry
) -> None:
    job = _job(connection, storage, pictures.photo(), due_in=-2)
    run(job)
    metrics, (usage,) = scraped(registry), rows(connection, "usage_logs", job.job_id)
    for name in ("pixels_processed", "bytes_saved", "compute_time_ms"):
        assert metrics(f"pixelflow_usage_{name}_total") == usage[name]
    assert metrics.by("status", "pixelflow_worker_jobs_total") == {"succeeded": 1}
    assert metrics.by("format", "pixelflow_worker_pipeline_outputs_total") == {"jpeg": 1}
    assert metrics.by("code", "pixelflow_worker_failures_total") == {}
    assert metrics("pixelflow_worker_job_duration_seconds_count", source_type="s3_presigned") == 1
    stages = metrics.by("stage", "pixelflow_worker_stage_duration_seconds_count")
    assert stages == dict.fromkeys(["queue", "fetch", "wait", "transform", "store", "finish"], 1)
    assert 2 <= metrics("pixelflow_worker_stage_duration_seconds_sum", stage="queue") < 60
    assert metrics.by("priority", "pixelflow_worker_job_wait_seconds_count") == {"normal": 1}
    assert 2 <= metrics("pixelflow_worker_job_wait_seconds_sum", priority="normal") < 60


class Lost(Unavailable):
    """As :class:`Unavailable`; meanwhile another worker claims the job."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def fetch(
        self, key: str, file: BinaryIO, *, max_bytes: int, version: str, reserve: Reserve, interrupts: Interrupts
    ) -> tuple[int, str]:
        del key, file, max_bytes, version, reserve, interrupts
        steal(self._connection)
        raise ValueError("a bug")


@pytest.mark.parametrize(
    ("max_attempts", "lost", "status", "code"),
    [
        pytest.param(5, False, "retried", "transform_crashed", id="another attempt follows"),
        pytest.param(1, False, "failed", "attempts_exhausted", id="the last attempt"),
        pytest.param(5, True, "lost", None, id="retried, not recorded"),
        pytest.param(1, True, "lost", None, id="failed, not recorded"),
    ],
)
def test_a_failure_is_counted_by_its_recorded_outcome(  # noqa: PLR0917  # fixtures
    connection: Connection,
    run: Callable[..., None],
    registry: CollectorRegistry,
    max_attempts: int,
    lost: bool,
    status: str,
    code: str | None,
) -> None:
    job = claimed(connection, max_attempts=max_attempts)
    run(job, storages={"s3_presigned": Lost(connection) if lost else Broken()})
    metrics = scraped(registry)
    assert metrics.by("status", "pixelflow_worker_jobs_total") == {status: 1}
    assert metrics.by("code", "pixelflow_worker_failures_total") == ({code: 1} if code else {})
    assert metrics.by("stage", "pixelflow_worker_stage_duration_seconds_count") == {"queue": 1, "fetch": 1}


@pytest.mark.parametrize(("reason", "status"), [(ShutdownRequestedError(), "handed_back"), (LeaseLostError(), "lost")])
def test_an_aborted_attempt_is_not_counted_as_a_failure(
    connection: Connection,
    storage: ObjectStorage,
    run: Callable[..., None],
    registry: CollectorRegistry,
    *,
    reason: Exception,
    status: str,
) -> None:
    job = _job(connection, storage, pictures.photo())
    lease = ActiveLease(job.lease, until=0)
    lease.interrupt(reason)
    run(job, lease)
    metrics = scraped(registry)
    assert metrics.by("status", "pixelflow_worker_jobs_total") == {status: 1}
    assert metrics.by("code", "pixelflow_worker_failures_total") == {}
    assert metrics("pixelflow_usage_pixels_processed_total") == 0


# ── Assets ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def logo(connection: Connection, storage: ObjectStorage) -> Callable[..., tuple[ClaimedJob, UUID]]:
    """Claims a job that uses an asset with that content."""
    connection.execute("TRUNCATE assets")
    step = {"id": "small", "action": "overlay", "image": {"asset": "logo"}, "format": "png"}

    def make(content: bytes) -> tuple[ClaimedJob, UUID]:
        job, asset_id = _job(connection, storage, pictures.photo(), pipeline=Jsonb([step])), new_id()
        obstore.put(storage._metadata_store, asset_key(asset_id), content)
        connection.execute(
            """INSERT INTO assets (asset_id, user_id, name, bytes, etag, ready_at)
               VALUES (%s, %s, 'logo', %s, '', now())""",
            (asset_id, job.user_id, len(content)),
        )
        connection.execute("INSERT INTO job_assets VALUES (%s, 'logo', %s)", (job.job_id, asset_id))
        return job, asset_id

    return make


def test_a_job_gets_its_asset(
    connection: Connection, run: Callable[..., None], logo: Callable[..., tuple[ClaimedJob, UUID]]
) -> None:
    """The child opens each asset, so a bad one shows that it arrived."""
    for content, expected in ((pictures.photo(), None), (b"text", "unsupported_format")):
        job, _ = logo(content)
        run(job)
        row = row_of(connection, job.job_id)
        assert (row["error"] or {}).get("code") == expected
        connection.execute("TRUNCATE assets")
    assert "asset `logo`" in row["error"]["message"]


def test_an_asset_that_was_deleted_meanwhile_is_used_while_its_bytes_exist(
    connection: Connection, run: Callable[..., None], logo: Callable[..., tuple[ClaimedJob, UUID]]
) -> None:
    job, _ = logo(pictures.photo())
    connection.execute("UPDATE assets SET deleted_at = now(), deletion_due_at = now(), name = ''")
    run(job)
    assert row_of(connection, job.job_id)["status"] == "succeeded"


@pytest.mark.parametrize("lost", ["row", "object", "smaller", "larger"])
def test_a_job_whose_asset_is_gone_fails_at_once(
    connection: Connection,
    storage: ObjectStorage,
    run: Callable[..., None],
    logo: Callable[..., tuple[ClaimedJob, UUID]],
    lost: str,
) -> None:
    job, asset_id = logo(pictures.photo())
    key, other = asset_key(asset_id), pictures.photo(60, 40)
    if lost == "row":
        connection.execute("DELETE FROM assets")
    elif lost == "object":
        obstore.delete(storage._metadata_store, key)
    else:
        obstore.put(storage._metadata_store, key, other if lost == "smaller" else other + bytes(10**6))
    run(job)
    row = row_of(connection, job.job_id)
    assert (row["status"], row["error"]["code"]) == ("failed", "asset_gone")
    assert "`logo`" in row["error"]["message"]


def test_a_storage_that_is_away_while_an_asset_is_fetched_does_not_count(
    connection: Connection,
    run: Callable[..., None],
    health: WorkerHealth,
    logo: Callable[..., tuple[ClaimedJob, UUID]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Away:
        def fetch_asset(self, *_: object, **__: object) -> None:
            raise ObjectsUnavailableError("Object storage is not available; try again shortly")

    job, _ = logo(pictures.photo())
    failed = MagicMock()
    monkeypatch.setattr(health, "record_failure", failed)
    run(job, assets=Away())
    failed.assert_called_once_with(Reason.OBJECT_STORAGE)
    row = row_of(connection, job.job_id)
    assert (row["status"], row["attempts"], row["error"]["code"]) == ("queued", 0, "objects_unavailable")


# ── Sources by URL ───────────────────────────────────────────────────────────────────────────────


def _fetching(storage: ObjectStorage, health: WorkerHealth, urls: UrlSources) -> Transfers:
    return Transfers(
        {"url": storage}, assets=storage, urls=urls, health=health, max_source_bytes=10**6, parallel_uploads=1
    )


@pytest.mark.parametrize(("attempts", "status"), [(0, "queued"), (4, "failed")])
def test_a_server_of_a_source_that_fails_counts_and_never_degrades_the_worker(
    connection: Connection, run: Callable[..., None], storage: ObjectStorage, attempts: int, status: str
) -> None:
    health = MagicMock()
    with serving({"/a": response(b"", "500 Oops")}) as server, closing(OutboundHttp(LOCAL)) as http:
        urls = UrlSources(Downloads(http), FetchPlaces(8))
        job = claimed(
            connection, source_type="url", source_key="", source_url=f"{server.url}/a?s3cr3t", attempts=attempts
        )
        run(job, transfers=_fetching(storage, health, urls))
    row = row_of(connection, job.job_id)
    assert (row["status"], row["error"]["code"], row["attempts"]) == (status, "source_url_unavailable", attempts + 1)
    assert row["error"]["message"].startswith(f"{server.url} answered 500")
    health.record_failure.assert_not_called()


# ── Sources in named buckets ─────────────────────────────────────────────────────────────────────


@pytest.fixture
def reading(storage: ObjectStorage, quiet_stack: Stack) -> Callable[..., Transfers]:
    """Makes transfers of a worker whose bucket ``photos`` is that of the service, with other ``fields``."""
    names = quiet_stack.environment
    bucket = {
        "bucket": names["PIXELFLOW_S3_BUCKET"],
        "endpoint_url": names["PIXELFLOW_S3_ENDPOINT_URL"],
        "credentials": {
            "access_key_id": "PIXELFLOW_S3_ACCESS_KEY_ID",
            "secret_access_key": "PIXELFLOW_S3_SECRET_ACCESS_KEY",
        },
        "sources": True,
    }

    def reading(health: WorkerHealth, outputs: Any = storage, **fields: Any) -> Transfers:  # noqa: ANN401
        buckets = NamedBuckets({"photos": NamedBucket.model_validate(bucket | fields)}, names)
        return Transfers(
            {"bucket": outputs},
            assets=storage,
            buckets=buckets,
            health=health,
            max_source_bytes=10**6,
            parallel_uploads=1,
        )

    return reading


def _in_bucket(connection: Connection, storage: ObjectStorage, content: bytes) -> ClaimedJob:
    key = f"user/{uuid4()}.jpg"
    obstore.put(storage._metadata_store, key, content)
    return claimed(connection, source_type="bucket", source_key=key, source_bucket="photos")


def test_a_retry_reads_the_version_that_the_first_attempt_found(
    connection: Connection, run: Callable[..., None], storage: ObjectStorage, reading: Callable[..., Transfers]
) -> None:
    job = _in_bucket(connection, storage, pictures.photo())
    away = MagicMock(output_prefix=storage.output_prefix, store=MagicMock(side_effect=ObjectsUnavailableError("away")))
    run(job, transfers=reading(MagicMock(), away))
    assert row_of(connection, job.job_id)["error"]["code"] == "objects_unavailable"
    make_due(connection)
    again = claim(connection, job.job_id)
    assert again
    # This server sends no ETag, and the time in whole seconds.
    modified = obstore.head(storage._metadata_store, job.source_key)["last_modified"]
    assert again.source_version == f"modified:{int(modified.timestamp())}"
    run(dataclasses.replace(again, source_version="modified:1"), transfers=reading(MagicMock()))
    row = row_of(connection, job.job_id)
    assert (row["status"], row["error"]["code"]) == ("failed", "source_changed")


@pytest.mark.parametrize(
    "case",
    [
        ({"sources": False}, "source_not_allowed"),
        ({"users": ["another"]}, "source_not_allowed"),
        ({"source_prefix": "{user_id}/private/"}, "source_not_allowed"),
        ({"bucket": "no-such-bucket"}, "source_not_allowed"),
        ({"prefix": "elsewhere/"}, "source_not_found"),
    ],
)
def test_a_source_that_its_user_can_not_read_any_more_fails_the_job(
    connection: Connection,
    run: Callable[..., None],
    storage: ObjectStorage,
    reading: Callable[..., Transfers],
    case: tuple[dict[str, Any], str],
) -> None:
    fields, code = case
    job = _in_bucket(connection, storage, pictures.photo())
    run(job, transfers=reading(MagicMock(), **fields))
    row = row_of(connection, job.job_id)
    assert (row["status"], row["error"]["code"], row["attempts"]) == ("failed", code, 1)


def test_an_object_over_the_limit_fails_the_job(
    connection: Connection, run: Callable[..., None], storage: ObjectStorage, reading: Callable[..., Transfers]
) -> None:
    job = _in_bucket(connection, storage, bytes(10**6 + 1))
    run(job, transfers=reading(MagicMock()))
    row = row_of(connection, job.job_id)
    assert (row["status"], row["error"]["code"]) == ("failed", "source_too_large")


def test_a_bucket_that_does_not_answer_makes_the_job_wait_and_never_degrades_the_worker(
    connection: Connection, run: Callable[..., None], storage: ObjectStorage, reading: Callable[..., Transfers]
) -> None:
    health = MagicMock()
    job = _in_bucket(connection, storage, pictures.photo())
    run(job, transfers=reading(health, endpoint_url="http://127.0.0.1:9"))
    row = row_of(connection, job.job_id)
    assert (row["status"], row["error"]["code"], row["attempts"]) == ("queued", "source_bucket_unavailable", 0)
    health.record_failure.assert_not_called()


@pytest.mark.parametrize("waited", [0, LIMITS.max_wait_seconds + 1])
def test_an_attempt_whose_source_is_postponed_does_not_count_however_long_the_job_has_waited(
    connection: Connection, run: Callable[..., None], storage: ObjectStorage, health: WorkerHealth, waited: float
) -> None:
    with closing(OutboundHttp(LOCAL)) as http:
        places, queued_at = FetchPlaces(1), datetime.now(UTC) - timedelta(seconds=waited)
        job = claimed(
            connection, source_type="url", source_key="", source_url="http://127.0.0.1:9/a", queued_at=queued_at
        )
        with places.place("another", "host"):
            run(job, transfers=_fetching(storage, health, UrlSources(Downloads(http), places)))
    row = row_of(connection, job.job_id)
    assert (row["status"], row["error"]["code"], row["attempts"]) == ("queued", "source_postponed", 0)


def test_a_shutdown_during_a_download_releases_the_job_without_counting(
    connection: Connection, run: Callable[..., None], storage: ObjectStorage, health: WorkerHealth
) -> None:
    with serving({"/a": silent}) as server, closing(OutboundHttp(LOCAL)) as http:
        job = claimed(connection, source_type="url", source_key="", source_url=f"{server.url}/a")
        lease = ActiveLease(job.lease, until=0)
        urls = UrlSources(Downloads(http), FetchPlaces(8))
        attempt = threading.Thread(
            target=run, args=(job, lease), kwargs={"transfers": _fetching(storage, health, urls)}, daemon=True
        )
        attempt.start()
        eventually(lambda: server.open)
        lease.interrupt(ShutdownRequestedError())
        attempt.join(10)
    row = row_of(connection, job.job_id)
    assert (row["status"], row["error"], row["attempts"]) == ("queued", None, 0)


def test_a_worker_that_fetches_no_sources_by_url_refuses_them(
    connection: Connection, run: Callable[..., None], storage: ObjectStorage
) -> None:
    job = claimed(connection, source_type="url", source_key="", source_url="http://127.0.0.1:9/a")
    run(job, storages={"url": storage})
    assert row_of(connection, job.job_id)["error"]["code"] == "source_url_refused"
