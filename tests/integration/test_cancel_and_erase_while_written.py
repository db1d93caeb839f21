"""A cancellation or erasure that waits for a concurrent write of a worker also covers the rows of that write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row
from tests.integration.job_rows import claim, put
from tests.support.waiting import DEADLINE_SECONDS

from pixelflow.adapters.postgres.database import AsyncDatabase, Connection
from pixelflow.controlplane.jobs import transitions
from pixelflow.dataplane.worker import store
from pixelflow.dataplane.worker.store import Lease, OutputRow, SourceFacts, UsageRow
from pixelflow.settings import Settings

OUTPUT = OutputRow("small", 0, "resize", "webp", "outputs/x", 10, 2, 2, "0" * 64)


@pytest.fixture
def worker(quiet: Settings) -> Iterator[Connection]:
    """A worker's connection, which commits explicitly."""
    url = quiet.database_url.get_secret_value()
    with psycopg.connect(url, row_factory=dict_row, options="-c pixelflow.tenant_scope=everyone") as connection:
        yield connection


@pytest.fixture
def queued(worker: Connection) -> UUID:
    """A job that a worker may claim."""
    worker.execute("TRUNCATE jobs, queue_lanes CASCADE")
    job_id = put(worker, webhook_url="https://client.example/hook")
    worker.commit()
    return job_id


Act = Callable[..., Coroutine[Any, Any, bool]]


async def committed_under(act: Act, database: AsyncDatabase, worker: Connection, job_id: UUID) -> None:
    """Commit what the worker wrote, while ``act`` waits for the job's row."""

    async def run() -> bool:
        async with database.connection() as connection, connection.transaction():
            return await act(connection, job_id=job_id, user_id="user")

    task = asyncio.create_task(run())
    async with asyncio.timeout(DEADLINE_SECONDS), database.connection() as eye:
        while not await (await eye.execute("SELECT 1 FROM pg_locks WHERE NOT granted")).fetchone():  # noqa: ASYNC110 - polls the server
            await asyncio.sleep(0.01)
    worker.commit()
    assert await task


def count(worker: Connection, query: str, job_id: UUID) -> int:
    """How many rows there are."""
    row = worker.execute(f"SELECT count(*) AS count FROM {query} AND job_id = %s", (job_id,)).fetchone()  # noqa: S608 - our own
    assert row is not None
    return int(row["count"])


async def test_an_attempt_that_was_just_opened_is_closed_by_the_cancellation(
    async_database: AsyncDatabase, worker: Connection, queued: UUID
) -> None:
    assert claim(worker, queued)
    await committed_under(transitions.cancel, async_database, worker, queued)
    assert count(worker, "attempts WHERE outcome = 'canceled' AND ended_at IS NOT NULL", queued) == 1
    assert count(worker, "jobs WHERE status = 'canceled'", queued) == 1


async def test_outputs_and_the_event_of_a_concurrent_success_are_erased(
    async_database: AsyncDatabase, worker: Connection, queued: UUID
) -> None:
    job = claim(worker, queued)
    worker.commit()
    assert job
    assert store.succeed(
        worker,
        Lease(queued, job.lease_token),
        source=SourceFacts(1, "0" * 64, "jpeg", 2, 2),
        outputs=[OUTPUT],
        usage=UsageRow(4, 0, 1),
        stages={},
    )
    await committed_under(transitions.erase, async_database, worker, queued)
    assert [count(worker, f"{table} WHERE true", queued) for table in ("outputs", "events", "usage_logs")] == [0, 0, 1]
    assert count(worker, "jobs WHERE erased_at IS NOT NULL AND source_sha256 IS NULL", queued) == 1
