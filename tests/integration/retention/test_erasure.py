"""Erased jobs: their files are deleted at once, and again when no more can arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx
import obstore
import psycopg
import pytest
from psycopg.rows import dict_row

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.postgres.database import AsyncDatabase
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.adapters.wakeup import WakeUpSender
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.responses import CreatedJob
from pixelflow.controlplane.jobs.service import JobService
from pixelflow.controlplane.retention import store
from pixelflow.controlplane.retention.gc import LEASE, FileCollector
from pixelflow.errors import ObjectsUnavailableError
from pixelflow.settings import Settings

USER = "user"
UPLOAD_URL_VALID = 5 * LEASE
GRACE = UPLOAD_URL_VALID + LEASE
STEPS = [{"id": "small", "action": "resize", "width": 10}]


@dataclass
class Scene:
    """An owner of jobs, and the file collector."""

    settings: Settings
    database: AsyncDatabase
    jobs: JobService
    objects: ObjectStorage
    eye: psycopg.Connection[dict[str, Any]]

    def collector(self, **settings: object) -> FileCollector:
        """The collector, with these settings."""
        used = self.settings.model_copy(update=settings)
        return FileCollector(self.database, ObjectStorage(used), LocalFiles(used.local_roots), upload_grace=GRACE)

    async def create(self) -> CreatedJob:
        """Create a job whose source is uploaded."""
        return await self.jobs.create(USER, CreateJobRequest.model_validate({"pipeline": STEPS}), job_id=new_id())

    def upload(self, created: CreatedJob) -> None:
        """Upload a source to the URL in the response."""
        assert created.upload.presigned_put_url
        assert httpx.put(created.upload.presigned_put_url, content=b"pixels").status_code == 200

    def keys(self, created: CreatedJob) -> list[str]:
        """Keys of the job's objects."""
        prefixes = (f"uploads/{created.job_id}", f"outputs/{created.job_id}")
        return [
            each["path"] for prefix in prefixes for each in obstore.list(self.objects._metadata_store, prefix).collect()
        ]

    def row(self, created: CreatedJob) -> dict[str, Any] | None:
        """The job's row."""
        return self.eye.execute("SELECT * FROM jobs WHERE job_id = %s", (created.job_id,)).fetchone()

    def pass_time(self, span: timedelta) -> None:
        """Make erasures and pending deletions older."""
        self.eye.execute("UPDATE jobs SET erased_at = erased_at - %s", (span,))
        self.eye.execute("UPDATE pending_deletions SET due_at = due_at - %s", (span,))

    def due_at(self, created: CreatedJob) -> datetime:
        """When the job's files are due for deletion."""
        query = "SELECT due_at FROM pending_deletions WHERE job_id = %s AND kind = 'job'"
        row = self.eye.execute(query, (created.job_id,)).fetchone()
        assert row
        due: datetime = row["due_at"]
        return due


@pytest.fixture
def scene(quiet: Settings, async_database: AsyncDatabase) -> Iterator[Scene]:
    settings = quiet.model_copy(update={"upload_url_seconds": int(UPLOAD_URL_VALID.total_seconds())})
    wakeups = WakeUpSender(settings.redis_url.get_secret_value())
    objects = ObjectStorage(settings)
    jobs = JobService(
        settings,
        database=async_database,
        wakeups=wakeups,
        objects=objects,
        local_files=LocalFiles(settings.local_roots),
    )
    url = settings.database_url.get_secret_value()
    with psycopg.connect(
        url, autocommit=True, row_factory=dict_row, options="-c pixelflow.tenant_scope=everyone"
    ) as eye:
        eye.execute("DELETE FROM jobs")
        yield Scene(settings, async_database, jobs, objects, eye)
        eye.execute("DELETE FROM jobs")


async def test_files_of_a_job_that_is_not_erased_are_kept(scene: Scene) -> None:
    created = await scene.create()
    scene.upload(created)
    await scene.jobs.cancel(USER, created.job_id)
    assert await scene.collector().run_once() == 0
    assert (len(scene.keys(created)), scene.row(created) is None) == (1, False)


async def test_files_are_deleted_at_once_and_the_row_when_no_more_can_arrive(scene: Scene) -> None:
    created = await scene.create()
    scene.upload(created)
    for attempt in (1, 2):
        key = f"outputs/{created.job_id}/{attempt}/small.webp"
        await obstore.put_async(scene.objects._metadata_store, key, b"pixels")
    await scene.jobs.erase(USER, created.job_id)
    assert len(scene.keys(created)) == 3
    assert [await scene.collector().run_once(), await scene.collector().run_once()] == [1, 0]
    assert scene.keys(created) == []
    assert scene.row(created) is not None
    scene.pass_time(GRACE - timedelta(seconds=5))
    assert await scene.collector().run_once() == 0
    scene.pass_time(timedelta(seconds=5))
    assert [await scene.collector().run_once(), await scene.collector().run_once()] == [1, 0]
    assert scene.row(created) is None


async def test_an_upload_after_the_erasure_is_deleted(scene: Scene) -> None:
    created = await scene.create()
    await scene.jobs.erase(USER, created.job_id)
    assert await scene.collector().run_once() == 1
    scene.upload(created)
    assert len(scene.keys(created)) == 1
    scene.pass_time(GRACE)
    assert await scene.collector().run_once() == 1
    assert (scene.keys(created), scene.row(created)) == ([], None)


async def test_an_upload_to_a_url_renewed_just_before_the_erasure_is_deleted(scene: Scene) -> None:
    request = CreateJobRequest.model_validate({"pipeline": STEPS})
    created = await scene.create()
    scene.eye.execute("UPDATE jobs SET created_at = created_at - interval '1 day'")
    renewed = await scene.jobs.renew_upload(USER, request, created)
    await scene.jobs.erase(USER, created.job_id)
    assert await scene.collector().run_once() == 1
    assert renewed.upload.expires_at is not None
    assert scene.due_at(created) > renewed.upload.expires_at
    scene.upload(renewed)
    scene.pass_time(GRACE)
    assert await scene.collector().run_once() == 1
    assert (scene.keys(created), scene.row(created)) == ([], None)


async def test_a_deletion_that_fails_is_repeated_after_its_lease(scene: Scene) -> None:
    created = await scene.create()
    scene.upload(created)
    await scene.jobs.erase(USER, created.job_id)
    with pytest.raises(ObjectsUnavailableError):
        await scene.collector(s3_endpoint_url="http://127.0.0.1:1").run_once()
    assert len(scene.keys(created)) == 1
    assert await scene.collector().run_once() == 0, "its lease is still valid"
    scene.pass_time(LEASE)
    assert await scene.collector().run_once() == 1
    assert scene.keys(created) == []


async def test_a_deletion_that_is_late_deletes_the_row_at_once(scene: Scene) -> None:
    created = await scene.create()
    scene.upload(created)
    await scene.jobs.erase(USER, created.job_id)
    scene.eye.execute("UPDATE jobs SET erased_at = erased_at - interval '1 day'")
    assert [await scene.collector().run_once(), await scene.collector().run_once()] == [1, 0]
    assert (scene.keys(created), scene.row(created)) == ([], None)


async def test_files_that_arrive_during_a_deletion_before_the_grace_period_ends_are_deleted(scene: Scene) -> None:
    created = await scene.create()
    await scene.jobs.erase(USER, created.job_id)
    async with scene.database.connection() as connection:
        await store.lease_deletions(connection, kind="job", lease=LEASE, limit=1)
        scene.pass_time(timedelta(seconds=10))
        scene.upload(created)
        scene.eye.execute("UPDATE jobs SET erased_at = now() - %s", (GRACE + timedelta(seconds=5),))
        await store.complete_erasures(connection, [created.job_id], lease=LEASE, upload_grace=GRACE)
    assert await scene.collector().run_once() == 1
    assert (scene.keys(created), scene.row(created)) == ([], None)


async def test_erased_files_do_not_wait_for_the_backlog_of_other_kinds(scene: Scene) -> None:
    other, created = await scene.create(), await scene.create()
    scene.eye.execute(
        "INSERT INTO pending_deletions SELECT %s, 'orphan', n, now() - interval '1 day' FROM generate_series(1, 500) n",
        (other.job_id,),
    )
    scene.upload(created)
    await scene.jobs.erase(USER, created.job_id)
    await scene.collector().run_once()
    assert scene.keys(created) == []


async def test_usage_outlives_the_job(scene: Scene) -> None:
    created = await scene.create()
    scene.eye.execute(
        "INSERT INTO usage_logs (job_id, user_id, pixels_processed, bytes_saved, compute_time_ms) "
        "VALUES (%s, %s, 1, 1, 1)",
        (created.job_id, USER),
    )
    await scene.jobs.erase(USER, created.job_id)
    scene.pass_time(GRACE)
    assert await scene.collector().run_once() == 1
    assert scene.row(created) is None
    billed = scene.eye.execute("SELECT user_id FROM usage_logs WHERE job_id = %s", (created.job_id,)).fetchall()
    assert billed == [{"user_id": USER}]


async def test_two_collectors_share_the_work(scene: Scene) -> None:
    jobs = [await scene.create() for _ in range(6)]
    for created in jobs:
        await scene.jobs.erase(USER, created.job_id)
    counts = await asyncio.gather(scene.collector().run_once(), scene.collector().run_once())
    assert sum(counts) == 6
