"""Erased jobs: what the pruner removes, and when, with time told by the test."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import obstore
import psycopg
import pytest
from psycopg.rows import dict_row

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.postgres.database import AsyncDatabase
from pixelflow.adapters.queue import JobQueue
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.contracts.errors import ObjectsUnavailableError
from pixelflow.contracts.jobs import CreatedJob, CreateJobRequest
from pixelflow.controlplane.jobs.service import JobService
from pixelflow.controlplane.retention.pruner import PATIENCE, Pruner
from pixelflow.settings import Settings

USER = "user"
UPLOAD_URL_VALID = 5 * PATIENCE
STEPS = [{"id": "small", "action": "resize", "width": 10}]


@dataclass
class Scene:
    """An owner of jobs, and the pruner."""

    settings: Settings
    database: AsyncDatabase
    jobs: JobService
    objects: ObjectStorage
    eye: psycopg.Connection[dict[str, Any]]
    elapsed: timedelta = timedelta(0)

    def pruner(self, **settings: object) -> Pruner:
        """A pruner of this time, perhaps with other settings."""
        used = self.settings.model_copy(update=settings)
        return Pruner(
            self.database,
            ObjectStorage(used),
            LocalFiles(used.local_roots),
            arrivals=timedelta(seconds=used.upload_url_seconds) + timedelta(minutes=1),
            clock=lambda: datetime.now(UTC) + self.elapsed,
        )

    async def create(self) -> CreatedJob:
        """A job whose source is to be uploaded."""
        return await self.jobs.create(USER, CreateJobRequest.model_validate({"pipeline": STEPS}), job_id=new_id())

    def upload(self, created: CreatedJob) -> None:
        """Send a source by the URL that creating the job returned."""
        assert created.upload.presigned_put_url
        assert httpx.put(created.upload.presigned_put_url, content=b"pixels").status_code == 200

    def keys(self, created: CreatedJob) -> list[str]:
        """The job's objects."""
        prefixes = (f"uploads/{created.job_id}", f"outputs/{created.job_id}")
        return [
            each["path"] for prefix in prefixes for each in obstore.list(self.objects._transfer_store, prefix).collect()
        ]

    def row(self, created: CreatedJob) -> dict[str, Any] | None:
        """The job's row."""
        return self.eye.execute("SELECT * FROM jobs WHERE job_id = %s", (created.job_id,)).fetchone()

    def pass_time(self, span: timedelta) -> None:
        """On the pruner's clock, and for what is due in the database."""
        self.elapsed += span
        self.eye.execute("UPDATE jobs SET purge_at = purge_at - %s", (span,))


@pytest.fixture
def scene(quiet: Settings, async_database: AsyncDatabase) -> Iterator[Scene]:
    settings = quiet.model_copy(update={"upload_url_seconds": int(UPLOAD_URL_VALID.total_seconds())})
    queue = JobQueue(settings.redis_url.get_secret_value())
    objects = ObjectStorage(settings)
    jobs = JobService(
        settings,
        database=async_database,
        queue=queue,
        objects=objects,
        local_files=LocalFiles(settings.local_roots),
        new_id=new_id,
    )
    url = settings.database_url.get_secret_value()
    with psycopg.connect(url, autocommit=True, row_factory=dict_row, options="-c pixelflow.reach=everyone") as eye:
        eye.execute("DELETE FROM jobs")
        yield Scene(settings, async_database, jobs, objects, eye)
        eye.execute("DELETE FROM jobs")
    queue.close()


async def test_nothing_of_a_job_that_is_not_erased_is_removed(scene: Scene) -> None:
    created = await scene.create()
    scene.upload(created)
    await scene.jobs.cancel(USER, created.job_id)
    assert await scene.pruner().run_once() == 0
    assert (len(scene.keys(created)), scene.row(created) is None) == (1, False)


async def test_files_go_at_once_and_the_row_when_no_more_can_arrive(scene: Scene) -> None:
    created = await scene.create()
    scene.upload(created)
    for attempt in (1, 2):
        key = f"outputs/{created.job_id}/{attempt}/small.webp"
        await obstore.put_async(scene.objects._transfer_store, key, b"pixels")
    await scene.jobs.erase(USER, created.job_id)
    assert len(scene.keys(created)) == 3
    assert [await scene.pruner().run_once(), await scene.pruner().run_once()] == [1, 0]
    assert scene.keys(created) == []
    assert scene.row(created) is not None
    scene.pass_time(UPLOAD_URL_VALID + PATIENCE - timedelta(seconds=5))
    assert await scene.pruner().run_once() == 0
    scene.pass_time(timedelta(seconds=5))
    assert [await scene.pruner().run_once(), await scene.pruner().run_once()] == [1, 0]
    assert scene.row(created) is None


async def test_an_upload_after_the_erasure_does_not_stay(scene: Scene) -> None:
    created = await scene.create()
    await scene.jobs.erase(USER, created.job_id)
    assert await scene.pruner().run_once() == 1
    scene.upload(created)
    assert len(scene.keys(created)) == 1
    scene.pass_time(UPLOAD_URL_VALID + PATIENCE)
    assert await scene.pruner().run_once() == 1
    assert (scene.keys(created), scene.row(created)) == ([], None)


async def test_an_upload_by_a_url_that_was_renewed_just_before_the_erasure_does_not_stay(scene: Scene) -> None:
    request = CreateJobRequest.model_validate({"pipeline": STEPS})
    created = await scene.create()
    scene.eye.execute("UPDATE jobs SET created_at = created_at - interval '1 day'")
    renewed = await scene.jobs.renew_upload(USER, request, created)
    await scene.jobs.erase(USER, created.job_id)
    assert await scene.pruner().run_once() == 1
    row = scene.row(created)
    assert row is not None
    assert renewed.upload.expires_at is not None
    assert row["purge_at"] > renewed.upload.expires_at
    scene.upload(renewed)
    scene.pass_time(UPLOAD_URL_VALID + PATIENCE)
    assert await scene.pruner().run_once() == 1
    assert (scene.keys(created), scene.row(created)) == ([], None)


async def test_a_round_that_object_storage_interrupts_is_done_again(scene: Scene) -> None:
    created = await scene.create()
    scene.upload(created)
    await scene.jobs.erase(USER, created.job_id)
    with pytest.raises(ObjectsUnavailableError):
        await scene.pruner(s3_endpoint_url="http://127.0.0.1:1").run_once()
    assert len(scene.keys(created)) == 1
    assert await scene.pruner().run_once() == 0, "not at once: it would meet the same"
    scene.pass_time(PATIENCE)
    assert await scene.pruner().run_once() == 1
    assert scene.keys(created) == []


async def test_a_pruner_whose_clock_is_behind_the_database_s_does_not_spin(scene: Scene) -> None:
    created = await scene.create()
    await scene.jobs.erase(USER, created.job_id)
    scene.eye.execute("UPDATE jobs SET erased_at = erased_at - interval '1 day'")
    scene.elapsed = -timedelta(days=1)
    assert [await scene.pruner().run_once(), await scene.pruner().run_once()] == [1, 0]


async def test_what_a_job_was_billed_by_outlives_its_row(scene: Scene) -> None:
    created = await scene.create()
    scene.eye.execute(
        "INSERT INTO usage_logs (job_id, user_id, pixels_processed, bytes_saved, compute_time_ms) "
        "VALUES (%s, %s, 1, 1, 1)",
        (created.job_id, USER),
    )
    await scene.jobs.erase(USER, created.job_id)
    scene.pass_time(UPLOAD_URL_VALID + PATIENCE)
    assert await scene.pruner().run_once() == 1
    assert scene.row(created) is None
    billed = scene.eye.execute("SELECT user_id FROM usage_logs WHERE job_id = %s", (created.job_id,)).fetchall()
    assert billed == [{"user_id": USER}]


async def test_two_pruners_share_the_work(scene: Scene) -> None:
    jobs = [await scene.create() for _ in range(6)]
    for created in jobs:
        await scene.jobs.erase(USER, created.job_id)
    counts = await asyncio.gather(scene.pruner().run_once(), scene.pruner().run_once())
    assert sum(counts) == 6
