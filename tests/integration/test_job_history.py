"""A job shows its attempts: also those of a job that succeeded in the end, and of earlier runs."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from tests.integration.job_rows import claim, make_due, put

from pixelflow.adapters.postgres.database import AsyncDatabase, Connection
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.contracts.jobs.responses import JobPage
from pixelflow.controlplane.jobs.filters import JobFilters
from pixelflow.controlplane.jobs.queries import JobQueries
from pixelflow.controlplane.jobs.store import MAX_ATTEMPTS_READ
from pixelflow.dataplane.worker import store as worker_store
from pixelflow.dataplane.worker.store import ClaimedJob
from pixelflow.errors import NotFoundError, OutputMissingError
from pixelflow.settings import Settings

ERROR = {"code": "transform_crashed", "message": "The transform process ended", "step_id": None}


@pytest.fixture
def queries(quiet: Settings, connection: Connection, async_database: AsyncDatabase) -> JobQueries:
    del connection  # empties the tables first
    return JobQueries(quiet, database=async_database, objects=ObjectStorage(quiet))


def _release(connection: Connection, job: ClaimedJob | None, *, error: dict[str, str | None] | None = ERROR) -> None:
    assert job
    counted = error is not None
    assert worker_store.release(
        connection, job.lease, delay=timedelta(0), counted=counted, error=error, stages={}, compute_time_ms=0
    )
    make_due(connection)


async def test_a_job_shows_why_its_earlier_attempts_failed_and_where_they_ran(
    queries: JobQueries, connection: Connection
) -> None:
    job_id = put(connection)
    _release(connection, claim(connection, job_id, worker_id="photos-7.internal:5f1c09ae:12"))
    _release(connection, claim(connection, job_id), error=None)
    assert claim(connection, job_id)
    shown = await queries.get("user", job_id)
    assert shown.history
    crashed, stopped, running = shown.history
    assert (crashed.attempt, crashed.outcome, crashed.worker) == (1, "retried", "5f1c09ae")
    assert "photos-7" not in shown.model_dump_json(), "the host is not the user's"
    assert crashed.error
    assert (crashed.error.code, crashed.started_at <= (crashed.ended_at or crashed.started_at)) == (ERROR["code"], True)
    assert (stopped.outcome, stopped.error, stopped.worker) == ("retried", None, None)
    assert (running.attempt, running.outcome, running.ended_at) == (3, None, None)


async def test_the_history_is_bounded_and_not_part_of_lists(queries: JobQueries, connection: Connection) -> None:
    job_id = put(connection)
    assert (await queries.get("user", job_id)).history == []
    for _ in range(23):
        _release(connection, claim(connection, job_id), error=None)
    shown = await queries.get("user", job_id)
    assert [each.attempt for each in shown.history or []] == list(range(4, 24))
    page = JobPage.model_validate_json(await queries.list_newest("user", JobFilters(), limit=10, cursor=None))
    assert [job.history for job in page.data] == [None]
    with pytest.raises(NotFoundError):
        await queries.get("other", job_id)


async def test_attempts_that_waited_for_their_turn_push_no_failure_out_of_the_history(
    queries: JobQueries, connection: Connection
) -> None:
    job_id = put(connection)
    _release(connection, claim(connection, job_id))
    job = claim(connection, job_id)
    assert job
    postponed = {"code": "source_postponed", "message": "Later", "step_id": None}
    assert worker_store.release(
        connection, job.lease, delay=timedelta(0), counted=False, error=postponed, stages={}, compute_time_ms=0
    )
    _repeat_latest(connection, job_id, MAX_ATTEMPTS_READ - 2)
    make_due(connection)
    shown = await queries.get("user", job_id)
    assert [(each.attempt, each.error and each.error.code) for each in shown.history or []] == [(1, ERROR["code"])]
    assert shown.error
    assert shown.error.code == "source_postponed"
    _repeat_latest(connection, job_id, 1)
    assert (await queries.get("user", job_id)).history == [], "reading is bounded"


def _repeat_latest(connection: Connection, job_id: UUID, times: int) -> None:
    connection.execute(
        """
        INSERT INTO attempts (job_id, attempt, worker_id, started_at, ended_at, outcome, error)
        SELECT job_id, attempt + n, worker_id, started_at, ended_at, outcome, error
        FROM (SELECT * FROM attempts WHERE job_id = %s ORDER BY attempt DESC LIMIT 1) AS latest,
             generate_series(1, %s) AS n
        """,
        (job_id, times),
    )


async def test_a_download_reads_no_history(queries: JobQueries, connection: Connection) -> None:
    job_id = put(connection)
    with connection.transaction():
        connection.execute("LOCK TABLE attempts IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(OutputMissingError):
            await queries.output_url("user", job_id, "small", "GET")
