"""Starting a job: its errors and their order, with object storage up and down."""

from __future__ import annotations

from uuid import UUID, uuid5

import obstore
import pytest
from tests.integration.job_rows import put, row_of
from tests.support.ports import free_port

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.postgres.database import AsyncDatabase, Connection
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage, source_key
from pixelflow.adapters.wakeup import WakeUpSender
from pixelflow.controlplane.jobs.service import JobService
from pixelflow.errors import (
    JobAlreadyFinishedError,
    NotFoundError,
    ObjectsUnavailableError,
    SourceMissingError,
)
from pixelflow.settings import Settings


@pytest.fixture(params=["up", "down"])
def storage(request: pytest.FixtureRequest, quiet: Settings) -> Settings:
    """Settings of a storage that answers, and of one that does not."""
    if request.param == "up":
        return quiet
    return quiet.model_copy(update={"s3_endpoint_url": f"http://127.0.0.1:{free_port()}"})


@pytest.fixture
def jobs(storage: Settings, connection: Connection, async_database: AsyncDatabase) -> JobService:
    del connection  # empties the tables first
    wakeups = WakeUpSender(storage.redis_url.get_secret_value())
    return JobService(
        storage,
        database=async_database,
        wakeups=wakeups,
        objects=ObjectStorage(storage),
        local_files=LocalFiles(storage.local_roots),
    )


def _uploaded(quiet: Settings) -> UUID:
    """Upload a source; returns the ID of its job."""
    job_id = new_id()
    obstore.put(ObjectStorage(quiet)._metadata_store, source_key(job_id), b"source")
    return job_id


async def _start(jobs: JobService, job_id: UUID, user_id: str = "user") -> UUID:
    return (await jobs.start(user_id, job_id, traceparent=None)).task_id


async def test_starting_a_queued_job_returns_the_same_task(jobs: JobService, connection: Connection) -> None:
    job_id = put(connection, "queued", queued_at="2001-01-01")
    assert await _start(jobs, job_id) == await _start(jobs, job_id)
    assert await _start(jobs, put(connection, "queued", queued_at="2001-01-01")) != await _start(jobs, job_id)
    connection.execute("UPDATE jobs SET run = run + 1 WHERE job_id = %s", (job_id,))
    assert await _start(jobs, job_id) not in {job_id, uuid5(job_id, "1")}


@pytest.mark.parametrize("status", ["succeeded", "failed", "canceled"])
async def test_a_finished_job_is_not_started(
    jobs: JobService, connection: Connection, quiet: Settings, status: str
) -> None:
    job_id = _uploaded(quiet)
    put(connection, status, job_id=job_id, source_key=source_key(job_id))
    with pytest.raises(JobAlreadyFinishedError):
        await _start(jobs, job_id)
    assert row_of(connection, job_id)["status"] == status


@pytest.mark.parametrize("is_another_users", [True, False], ids=["another user's", "missing"])
@pytest.mark.parametrize("is_uploaded", [True, False], ids=["uploaded", "not uploaded"])
async def test_another_users_job_gives_the_same_error_as_a_missing_one(
    jobs: JobService, connection: Connection, quiet: Settings, is_another_users: bool, is_uploaded: bool
) -> None:
    job_id = _uploaded(quiet) if is_uploaded else new_id()
    if is_another_users:
        put(connection, "created", job_id=job_id, source_key=source_key(job_id))
    with pytest.raises(NotFoundError, match=r"^You have no job with this ID$"):
        await _start(jobs, job_id, "another")


async def test_an_expired_source_is_missing_even_while_its_object_exists(
    jobs: JobService, connection: Connection, quiet: Settings
) -> None:
    job_id = _uploaded(quiet)
    put(connection, "canceled", job_id=job_id, source_key=source_key(job_id), source_expired_at="2001-01-01")
    with pytest.raises(SourceMissingError, match="has expired"):
        await jobs.retry("user", job_id, traceparent=None)


@pytest.mark.parametrize("storage", ["down"], indirect=True)
async def test_no_job_is_started_while_storage_is_down(jobs: JobService, connection: Connection) -> None:
    job_id = put(connection, "created")
    with pytest.raises(ObjectsUnavailableError):
        await _start(jobs, job_id)
    assert row_of(connection, job_id)["status"] == "created"


@pytest.mark.parametrize("storage", ["up"], indirect=True)
async def test_the_object_that_was_checked_is_the_source_of_the_job(
    jobs: JobService, connection: Connection, quiet: Settings
) -> None:
    """An object under the default key does not start a job whose source has another key."""
    job_id = put(connection, "created", job_id=_uploaded(quiet), source_key="uploads/elsewhere/source")
    with pytest.raises(SourceMissingError):
        await _start(jobs, job_id)
    assert row_of(connection, job_id)["status"] == "created"
