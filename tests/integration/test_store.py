"""The SQL that moves jobs: claims, fencing and reaping, on a real Postgres."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row
from tests.integration.conftest import FOR_ALL_USERS
from tests.integration.job_rows import (
    CAPABILITIES,
    LEASE,
    assert_lanes_match,
    claim,
    claimed,
    expire,
    make_due,
    put,
    queue_row,
    row_of,
    rows,
)

from pixelflow.adapters.postgres.database import AsyncConnection, Connection
from pixelflow.contracts.jobs.states import TRANSITIONS, JobStatus
from pixelflow.controlplane.jobs import transitions
from pixelflow.dataplane.worker import store as worker_store
from pixelflow.dataplane.worker.store import ClaimedJob, Lease, OutputRow, SourceFacts, UsageRow

SOURCE = SourceFacts(bytes=1000, sha256="s", format="jpeg", width=120, height=80)
OUTPUT = OutputRow("small", 0, "resize", "jpeg", "outputs/x/1/small.jpg", 400, 60, 40, "o")
USAGE = UsageRow(pixels_processed=2400, bytes_saved=600, compute_time_ms=7)
ERROR = {"code": "undecodable", "message": "damaged", "step_id": None}


def _claim(connection: Connection, job_id: UUID) -> ClaimedJob | None:
    return claim(connection, job_id)


def _succeed(connection: Connection, lease: Lease) -> bool:
    return worker_store.succeed(connection, lease, source=SOURCE, outputs=[OUTPUT], usage=USAGE, stages={"fetch": 1})


def _fail(connection: Connection, lease: Lease) -> bool:
    return worker_store.fail(connection, lease, error=ERROR, stages={"fetch": 1}, compute_time_ms=9)


def _release(connection: Connection, lease: Lease, *, counted: bool = True) -> bool:
    return worker_store.release(
        connection,
        lease,
        delay=timedelta(seconds=60),
        counted=counted,
        error=ERROR,
        stages={"fetch": 1},
        compute_time_ms=9,
    )


def _renew(connection: Connection, lease: Lease) -> bool:
    return lease.job_id in worker_store.renew(connection, [worker_store.Renewal(lease)], lease=LEASE)


WRITES: dict[str, Callable[[Connection, Lease], bool]] = {
    "succeed": _succeed,
    "fail": _fail,
    "release": _release,
    "renew": _renew,
}
by_write = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)


def test_a_claim_gives_the_job_a_lease_and_opens_an_attempt(connection: Connection) -> None:
    job = claimed(connection)
    row = row_of(connection, job.job_id)
    assert (row["status"], row["attempts"], row["lease_token"]) == ("processing", 1, 1)
    queued = queue_row(connection, job.job_id)
    assert queued
    assert (queued["state"], queued["lease_token"], queued["worker_id"]) == ("active", 1, "worker")
    assert row["started_at"] is not None
    (attempt,) = rows(connection, "attempts", job.job_id)
    assert (attempt["attempt"], attempt["worker_id"], attempt["ended_at"]) == (1, "worker", None)


@pytest.mark.parametrize("status", [status for status in JobStatus if status is not JobStatus.QUEUED])
def test_only_a_queued_job_is_claimed(connection: Connection, status: JobStatus) -> None:
    job_id = put(connection, status)
    before = row_of(connection, job_id)
    assert _claim(connection, job_id) is None
    assert row_of(connection, job_id) == before
    assert rows(connection, "attempts", job_id) == []


def test_a_job_is_not_claimed_before_it_is_due(connection: Connection) -> None:
    assert _claim(connection, put(connection, due_in=60)) is None


def test_a_job_that_does_not_exist_is_not_claimed(connection: Connection) -> None:
    assert _claim(connection, uuid4()) is None


def test_of_two_concurrent_claims_one_succeeds(connection: Connection, database_url: str) -> None:
    job_id = put(connection)
    claims: dict[str, Any] = {"places": 1, "capabilities": CAPABILITIES, "worker_id": "worker", "lease": LEASE}
    with psycopg.connect(database_url, row_factory=dict_row, options=FOR_ALL_USERS) as first:
        (winner,) = worker_store.claim(first, **claims)  # not committed yet
        with psycopg.connect(database_url, autocommit=True, row_factory=dict_row, options=FOR_ALL_USERS) as second:
            assert worker_store.claim(second, **claims) == []  # does not wait for the first
            first.commit()
            assert worker_store.claim(second, **claims) == []
    assert winner.job_id == job_id
    assert row_of(connection, job_id)["attempts"] == 1


@by_write
def test_a_stale_lease_writes_nothing(connection: Connection, write: Callable[[Connection, Lease], bool]) -> None:
    job = claimed(connection)
    assert _release(connection, job.lease)
    make_due(connection)
    assert _claim(connection, job.job_id)
    before = row_of(connection, job.job_id), rows(connection, "attempts", job.job_id)
    assert not write(connection, job.lease)
    assert (row_of(connection, job.job_id), rows(connection, "attempts", job.job_id)) == before
    assert rows(connection, "outputs", job.job_id) == []
    assert rows(connection, "usage_logs", job.job_id) == []


def test_success_writes_source_outputs_usage_and_attempt_once(connection: Connection) -> None:
    job = claimed(connection)
    assert _succeed(connection, job.lease)
    assert not _succeed(connection, job.lease)
    row = row_of(connection, job.job_id)
    assert (row["status"], row["source_sha256"], row["source_width"]) == ("succeeded", "s", 120)
    assert row["finished_at"] is not None
    assert [output["object_key"] for output in rows(connection, "outputs", job.job_id)] == [OUTPUT.object_key]
    (usage,) = rows(connection, "usage_logs", job.job_id)
    assert (usage["user_id"], usage["pixels_processed"], usage["compute_time_ms"]) == ("user", 2400, 7)
    (attempt,) = rows(connection, "attempts", job.job_id)
    assert (attempt["outcome"], attempt["stages"]) == ("succeeded", {"fetch": 1})
    assert attempt["ended_at"] is not None


def test_success_is_all_or_nothing(connection: Connection) -> None:
    job = claimed(connection)
    with pytest.raises(psycopg.errors.UniqueViolation):
        worker_store.succeed(connection, job.lease, source=SOURCE, outputs=[OUTPUT, OUTPUT], usage=USAGE, stages={})
    assert row_of(connection, job.job_id)["status"] == "processing"
    assert rows(connection, "usage_logs", job.job_id) == []


def test_failure_stores_the_error(connection: Connection) -> None:
    job = claimed(connection)
    assert _fail(connection, job.lease)
    row = row_of(connection, job.job_id)
    assert (row["status"], row["error"], queue_row(connection, job.job_id)) == ("failed", ERROR, None)
    assert [each["outcome"] for each in rows(connection, "attempts", job.job_id)] == ["failed"]


@pytest.mark.parametrize(("counted", "attempts_left_in_row"), [(True, 1), (False, 0)])
def test_a_released_job_is_claimable_after_its_delay(
    connection: Connection, counted: bool, attempts_left_in_row: int
) -> None:
    job = claimed(connection)
    assert _release(connection, job.lease, counted=counted)
    row = row_of(connection, job.job_id)
    assert (row["status"], row["attempts"]) == ("queued", attempts_left_in_row)
    assert _claim(connection, job.job_id) is None, "not due yet"
    make_due(connection)
    assert _claim(connection, job.job_id)
    assert_lanes_match(connection)


async def test_an_expired_lease_goes_back_to_the_queue(
    connection: Connection, async_connection: AsyncConnection
) -> None:
    expired, held = claimed(connection), claimed(connection)
    expire(connection, expired.job_id)
    reaped = await transitions.reap_expired(async_connection, limit=10, exhausted="exhausted")
    assert [(row.job_id, row.status) for row in reaped] == [(expired.job_id, "queued")]
    assert row_of(connection, held.job_id)["status"] == "processing"
    (lost,) = rows(connection, "attempts", expired.job_id)
    assert lost["outcome"] == "lost"
    again = _claim(connection, expired.job_id)
    assert again
    assert (again.attempts, again.lease_token) == (2, 2)
    assert not _succeed(connection, expired.lease)


async def test_a_job_without_attempts_left_fails(connection: Connection, async_connection: AsyncConnection) -> None:
    job = claimed(connection, max_attempts=1)
    expire(connection, job.job_id)
    reaped = await transitions.reap_expired(async_connection, limit=10, exhausted="exhausted")
    assert [row.status for row in reaped] == ["failed"]
    row = row_of(connection, job.job_id)
    assert (row["error"]["code"], row["error"]["message"]) == ("attempts_exhausted", "exhausted")
    assert row["finished_at"] is not None
    assert [each["outcome"] for each in rows(connection, "attempts", job.job_id)] == ["lost"]


Move = Callable[[AsyncConnection, Connection, UUID], Awaitable[object]]


def _by_worker(write: Callable[[Connection, Lease], bool]) -> Move:
    async def move(_: AsyncConnection, connection: Connection, job_id: UUID) -> object:
        return write(connection, Lease(job_id, 0))

    return move


async def _start(connection: AsyncConnection, _: Connection, job_id: UUID) -> object:
    return await transitions.queue(
        connection,
        job_id=job_id,
        user_id="user",
        moved_from={JobStatus.CREATED},
        new_run=False,
        source_key="uploads/x/source",
        source_bytes=1,
        source_version="v",
        traceparent=None,
        max_active=None,
    )


async def _retry(connection: AsyncConnection, _: Connection, job_id: UUID) -> object:
    return await transitions.queue(
        connection,
        job_id=job_id,
        user_id="user",
        moved_from={JobStatus.FAILED, JobStatus.CANCELED},
        new_run=True,
        source_key="uploads/x/source",
        source_bytes=1,
        source_version="v",
        traceparent=None,
        max_active=None,
    )


async def _cancel(connection: AsyncConnection, _: Connection, job_id: UUID) -> object:
    return await transitions.cancel(connection, job_id=job_id, user_id="user")


async def _erase(connection: AsyncConnection, _: Connection, job_id: UUID) -> object:
    return await transitions.erase(connection, job_id=job_id, user_id="user")


async def _claim_it(_: AsyncConnection, connection: Connection, job_id: UUID) -> object:
    return _claim(connection, job_id)


async def _reap(asynchronous: AsyncConnection, connection: Connection, job_id: UUID) -> object:
    connection.execute("UPDATE job_queue SET lease_until = now() - interval '1 s' WHERE state = 'active'")
    return [row for row in await transitions.reap_expired(asynchronous, limit=9, exhausted="") if row.job_id == job_id]


MOVES: dict[str, Move] = {
    "start": _start,
    "retry": _retry,
    "cancel": _cancel,
    "erase": _erase,
    "claim": _claim_it,
    "reap": _reap,
    **{name: _by_worker(write) for name, write in WRITES.items()},
}


@pytest.mark.parametrize("max_attempts", [1, 5])
@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
@pytest.mark.parametrize("status", JobStatus)
async def test_no_statement_leaves_the_state_machine(
    connection: Connection, async_connection: AsyncConnection, status: JobStatus, move: Move, max_attempts: int
) -> None:
    job_id = put(connection, status, max_attempts=max_attempts, attempts=1)
    moved = await move(async_connection, connection, job_id)
    after = JobStatus(row_of(connection, job_id)["status"])
    assert after == status or after in TRANSITIONS[status]
    if not moved:
        assert after == status, "a statement that reports no change changed nothing"
