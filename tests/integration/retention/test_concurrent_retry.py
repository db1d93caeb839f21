"""Concurrent retry and expiry: the first one wins, and a queued or processing job never loses its source."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import psycopg
import pytest
from tests.integration.retention.conftest import Scene
from tests.support.waiting import DEADLINE_SECONDS

from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage, source_key
from pixelflow.adapters.wakeup import WakeUpSender
from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.controlplane.jobs import transitions
from pixelflow.controlplane.jobs.service import JobService
from pixelflow.controlplane.retention import store
from pixelflow.errors import SourceMissingError

AGE = timedelta(days=10)


@pytest.fixture
def jobs(scene: Scene) -> JobService:
    wakeups = WakeUpSender(scene.settings.redis_url.get_secret_value())
    return JobService(
        scene.settings,
        database=scene.database,
        wakeups=wakeups,
        objects=ObjectStorage(scene.settings),
        local_files=LocalFiles(()),
    )


async def test_a_retry_that_waits_for_an_expiry_fails(scene: Scene, jobs: JobService) -> None:
    job_id = scene.age(scene.put("canceled"), days=11)
    async with scene.database.connection() as connection, asyncio.timeout(DEADLINE_SECONDS):
        async with connection.transaction():
            assert await store.expire_sources(connection, age=AGE, limit=10) == 1
            retry = asyncio.create_task(jobs.retry("user", job_id, traceparent=None))
            while not scene.eye.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone():  # noqa: ASYNC110 - polls the server
                await asyncio.sleep(0.01)
        assert scene.keys(job_id), "the object still exists, but has expired"
        with pytest.raises(SourceMissingError):
            await retry
    assert await scene.run() == 1
    row = scene.row(job_id)
    assert row
    assert row["status"] == "canceled"


async def test_expiry_skips_a_job_that_is_being_retried(scene: Scene) -> None:
    job_id = scene.age(scene.put("canceled"), days=11)
    async with scene.database.connection() as connection, connection.transaction():
        assert await transitions.queue(
            connection,
            job_id=job_id,
            user_id="user",
            moved_from=[JobStatus.CANCELED],
            new_run=True,
            source_key=source_key(job_id),
            source_bytes=6,
            source_version="v",
            traceparent=None,
            max_active=None,
        )
        assert await scene.run() == 0
    assert await scene.run() == 0
    assert scene.keys(job_id) == {source_key(job_id)}


@pytest.mark.parametrize("removed", [False, True])
async def test_a_job_whose_source_expired_can_t_be_retried(scene: Scene, jobs: JobService, removed: bool) -> None:
    job_id = scene.age(scene.put("canceled"), days=11)
    await scene.rows().run_once()
    if removed:
        await scene.files().run_once()
    with pytest.raises(SourceMissingError, match="create a new job"):
        await jobs.retry("user", job_id, traceparent=None)


def test_the_database_refuses_to_queue_a_job_whose_source_has_expired(scene: Scene) -> None:
    """For the statements of any release."""
    job_id = scene.put("canceled", source_expired_at="now")
    with pytest.raises(psycopg.errors.CheckViolation):
        scene.eye.execute("UPDATE jobs SET status = 'queued', finished_at = NULL WHERE job_id = %s", (job_id,))
