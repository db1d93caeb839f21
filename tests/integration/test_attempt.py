"""One attempt on a real database, real object storage and real children: every way that it can end."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import obstore
import pytest
from opentelemetry.trace import NoOpTracer
from prometheus_client import CollectorRegistry
from tests.acceptance import pictures
from tests.integration.job_rows import LEASE, claimed, row_of, rows
from tests.support.otlp_collector import collecting
from tests.support.scraped import scraped

from pixelflow.adapters.postgres.database import Connection, Database
from pixelflow.adapters.storage.objects import ObjectStorage, source_key
from pixelflow.adapters.telemetry.tracing import open_tracer
from pixelflow.contracts.errors import ObjectsUnavailableError
from pixelflow.dataplane.protocol import TransformLimits
from pixelflow.dataplane.worker import store as worker_store
from pixelflow.dataplane.worker.attempt import AttemptRunner, JobLimits
from pixelflow.dataplane.worker.child_process import ChildLimits
from pixelflow.dataplane.worker.leases import ActiveLease, LeaseLostError, ShutdownRequestedError
from pixelflow.dataplane.worker.metrics import WorkerMetrics
from pixelflow.dataplane.worker.sandbox import Sandbox
from pixelflow.dataplane.worker.store import ClaimedJob
from pixelflow.devstack.stack import Stack
from pixelflow.settings import Settings

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BOUNDS = JobLimits(
    max_source_bytes=1_000_000,
    transform=TransformLimits(max_source_pixels=10**6, max_output_pixels=10**6, max_output_bytes=10**9),
)


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
    """A storage that does not answer."""

    def fetch(self, key: str, destination: Path, *, max_bytes: int) -> tuple[int, str]:
        del key, destination, max_bytes
        raise ObjectsUnavailableError("Object storage is not available; try again shortly")

    def output_prefix(self, source: str, job_id: UUID, attempt: int) -> str:
        raise NotImplementedError

    def store(self, file: object, key: str, *, media_type: str) -> None:
        raise NotImplementedError


@pytest.fixture
def run(
    database: Database, sandbox: Sandbox, storage: ObjectStorage, metrics: WorkerMetrics, tmp_path: Path
) -> Callable[..., None]:
    """Makes an attempt at a claimed job."""
    scratch = tmp_path_of(sandbox, tmp_path)

    def run(job: ClaimedJob, held: ActiveLease | None = None, **parts: Any) -> None:  # noqa: ANN401  # what to replace
        told: dict[str, Any] = {
            "sandbox": sandbox,
            "storages": {"s3_presigned": storage},
            "bounds": BOUNDS,
            "scratch": scratch,
            "metrics": metrics,
            "tracing": NoOpTracer(),
            "jitter": lambda: 0.0,
            **parts,
        }
        AttemptRunner(database=database, **told).run(
            job, held or ActiveLease(job.lease, until=0), claim_begun_ns=time.time_ns()
        )
        assert list(scratch.iterdir()) == [], "nothing is left in the scratch folder"

    return run


def tmp_path_of(sandbox: Sandbox, tmp_path: Path) -> Path:
    """A scratch folder that the sandbox's children may enter."""
    assert tmp_path.is_relative_to(sandbox._scratch)
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def _job(connection: Connection, storage: ObjectStorage, source: bytes, **columns: Any) -> ClaimedJob:  # noqa: ANN401
    job = claimed(connection, **columns)
    obstore.put(storage._moved, source_key(job.job_id), source)
    connection.execute("UPDATE jobs SET source_key = %s WHERE job_id = %s", (source_key(job.job_id), job.job_id))
    return ClaimedJob(**{**vars(job), "source_key": source_key(job.job_id)})


def test_success_keeps_outputs_under_the_attempt_s_own_prefix(
    connection: Connection, storage: ObjectStorage, run: Callable[..., None]
) -> None:
    source = pictures.photo()
    job = _job(connection, storage, source)
    run(job)
    row = row_of(connection, job.job_id)
    assert (row["status"], row["source_sha256"]) == ("succeeded", hashlib.sha256(source).hexdigest())
    (output,) = rows(connection, "outputs", job.job_id)
    assert output["object_key"] == f"outputs/{job.job_id}/1/small.jpg"
    kept = bytes(obstore.get(storage._moved, output["object_key"]).bytes())
    assert (len(kept), hashlib.sha256(kept).hexdigest()) == (output["bytes"], output["sha256"])
    (usage,) = rows(connection, "usage_logs", job.job_id)
    assert usage["pixels_processed"] == 60 * 40
    (attempt,) = rows(connection, "attempts", job.job_id)
    assert attempt["stages"].keys() >= {"fetch", "wait", "transform", "store"}


@pytest.mark.parametrize(
    ("source", "code"),
    [
        pytest.param(b"text", "unsupported_format", id="refused by the child"),
        pytest.param(bytes(1_000_001), "source_too_large", id="too large to be fetched"),
        pytest.param(pictures.photo(2000, 1000), "too_many_pixels", id="too many pixels"),
    ],
)
def test_a_fault_of_the_source_fails_the_job(
    connection: Connection, storage: ObjectStorage, run: Callable[..., None], source: bytes, code: str
) -> None:
    job = _job(connection, storage, source)
    run(job)
    row = row_of(connection, job.job_id)
    assert (row["status"], row["error"]["code"]) == ("failed", code)
    assert [each["outcome"] for each in rows(connection, "attempts", job.job_id)] == ["failed"]


def test_a_source_that_is_gone_fails_the_job(connection: Connection, run: Callable[..., None]) -> None:
    job = claimed(connection, source_key="uploads/nothing/source")
    run(job)
    assert row_of(connection, job.job_id)["error"]["code"] == "source_gone"


def test_a_storage_that_is_away_hands_the_job_back_for_later(connection: Connection, run: Callable[..., None]) -> None:
    job = claimed(connection)
    run(job, storages={"s3_presigned": Unavailable()})
    row = row_of(connection, job.job_id)
    assert (row["status"], row["attempts"], row["error"]["code"]) == ("queued", 1, "objects_unavailable")
    assert row["run_at"] > datetime.now(UTC)
    assert [each["outcome"] for each in rows(connection, "attempts", job.job_id)] == ["retried"]


def test_attempts_that_follow_one_another_stay_in_the_trace_of_the_request(
    connection: Connection, storage: ObjectStorage, run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = _job(connection, storage, pictures.photo(), traceparent=TRACEPARENT)
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        with open_tracer(role="worker") as tracing:
            run(job, tracing=tracing, storages={"s3_presigned": Unavailable()})
            connection.execute("UPDATE jobs SET run_at = now()")
            again = worker_store.claim(connection, job_id=job.job_id, worker_id="other", lease=LEASE)
            run(again, tracing=tracing)
        tried = [span for span in collector.spans if span.name == "attempt"]
    assert {(span.trace_id, span.parent_id) for span in tried} == {tuple(TRACEPARENT.split("-")[1:3])}
    assert [(span.attributes["pixelflow.outcome"], span.attributes.get("error.type")) for span in tried] == [
        ("retried", "objects_unavailable"),
        ("succeeded", None),
    ]
    fetched = [span for span in collector.spans if span.name == "fetch"]
    assert [(span.failed, span.parent_id) for span in fetched] == [(True, tried[0].span_id), (False, tried[1].span_id)]


def test_the_last_attempt_that_fails_fails_the_job(connection: Connection, run: Callable[..., None]) -> None:
    job = claimed(connection, max_attempts=1)
    run(job, storages={"s3_presigned": Unavailable()})
    row = row_of(connection, job.job_id)
    assert (row["status"], row["error"]["code"]) == ("failed", "attempts_exhausted")


def test_a_leaving_worker_hands_the_job_back_uncounted_and_at_once(
    connection: Connection, storage: ObjectStorage, run: Callable[..., None]
) -> None:
    job = _job(connection, storage, pictures.photo())
    held = ActiveLease(job.lease, until=0)
    held.interrupt(ShutdownRequestedError())
    run(job, held)
    row = row_of(connection, job.job_id)
    assert (row["status"], row["attempts"], row["error"]) == ("queued", 0, None)
    assert worker_store.claim(connection, job_id=job.job_id, worker_id="other", lease=LEASE)


def test_a_worker_that_lost_its_lease_writes_nothing(
    connection: Connection, storage: ObjectStorage, run: Callable[..., None]
) -> None:
    job = _job(connection, storage, pictures.photo())
    held = ActiveLease(job.lease, until=0)
    held.interrupt(LeaseLostError())
    before = row_of(connection, job.job_id)
    run(job, held)
    assert row_of(connection, job.job_id) == before


def test_a_job_that_was_given_away_meanwhile_is_not_finished_twice(
    connection: Connection, storage: ObjectStorage, run: Callable[..., None]
) -> None:
    job = _job(connection, storage, pictures.photo())
    connection.execute("UPDATE jobs SET lease_token = lease_token + 1")
    run(job)
    assert row_of(connection, job.job_id)["status"] == "processing"
    assert rows(connection, "outputs", job.job_id) == []
    assert rows(connection, "usage_logs", job.job_id) == []


def test_no_path_and_no_key_is_told_to_the_owner_of_a_failed_job(
    connection: Connection, storage: ObjectStorage, run: Callable[..., None], tmp_path: Path
) -> None:
    job = _job(connection, storage, pictures.photo()[:200])
    run(job)
    told = json.dumps(row_of(connection, job.job_id)["error"])
    assert str(tmp_path) not in told
    assert "uploads/" not in told


# ── What the metrics are told ────────────────────────────────────────────────────────────────────


def test_a_success_counts_as_much_as_usage_logs_hold(
    connection: Connection, storage: ObjectStorage, run: Callable[..., None], registry: CollectorRegistry
) -> None:
    job = _job(connection, storage, pictures.photo(), due_in=-2)
    run(job)
    told, (usage,) = scraped(registry), rows(connection, "usage_logs", job.job_id)
    for name in ("pixels_processed", "bytes_saved", "compute_time_ms"):
        assert told(f"pixelflow_usage_{name}_total") == usage[name]
    assert told.by("status", "pixelflow_worker_jobs_total") == {"succeeded": 1}
    assert told.by("format", "pixelflow_worker_pipeline_outputs_total") == {"jpeg": 1}
    assert told.by("code", "pixelflow_worker_failures_total") == {}
    assert told("pixelflow_worker_job_duration_seconds_count", source_type="s3_presigned") == 1
    stages = told.by("stage", "pixelflow_worker_stage_duration_seconds_count")
    assert stages == dict.fromkeys(["queue", "fetch", "wait", "transform", "store", "finish"], 1)
    assert 2 <= told("pixelflow_worker_stage_duration_seconds_sum", stage="queue") < 60


class Lost:
    """As :class:`Unavailable`, and meanwhile the job is given to somebody else."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def fetch(self, key: str, destination: Path, *, max_bytes: int) -> tuple[int, str]:
        self._connection.execute("UPDATE jobs SET lease_token = lease_token + 1")
        Unavailable().fetch(key, destination, max_bytes=max_bytes)
        raise NotImplementedError


@pytest.mark.parametrize(
    ("max_attempts", "lost", "status", "code"),
    [
        pytest.param(5, False, "retried", "objects_unavailable", id="another one follows"),
        pytest.param(1, False, "failed", "attempts_exhausted", id="the last one"),
        pytest.param(5, True, "lost", None, id="retried, and not written"),
        pytest.param(1, True, "lost", None, id="failed, and not written"),
    ],
)
def test_a_failure_counts_by_what_was_written_of_it(  # noqa: PLR0917  # fixtures
    connection: Connection,
    run: Callable[..., None],
    registry: CollectorRegistry,
    max_attempts: int,
    lost: bool,
    status: str,
    code: str | None,
) -> None:
    job = claimed(connection, max_attempts=max_attempts)
    run(job, storages={"s3_presigned": Lost(connection) if lost else Unavailable()})
    told = scraped(registry)
    assert told.by("status", "pixelflow_worker_jobs_total") == {status: 1}
    assert told.by("code", "pixelflow_worker_failures_total") == ({code: 1} if code else {})
    assert told.by("stage", "pixelflow_worker_stage_duration_seconds_count") == {"queue": 1, "fetch": 1}


@pytest.mark.parametrize(("reason", "status"), [(ShutdownRequestedError(), "handed_back"), (LeaseLostError(), "lost")])
def test_an_attempt_that_is_given_up_counts_as_no_failure(
    connection: Connection,
    storage: ObjectStorage,
    run: Callable[..., None],
    registry: CollectorRegistry,
    *,
    reason: Exception,
    status: str,
) -> None:
    job = _job(connection, storage, pictures.photo())
    held = ActiveLease(job.lease, until=0)
    held.interrupt(reason)
    run(job, held)
    told = scraped(registry)
    assert told.by("status", "pixelflow_worker_jobs_total") == {status: 1}
    assert told.by("code", "pixelflow_worker_failures_total") == {}
    assert told("pixelflow_usage_pixels_processed_total") == 0
