"""Jobs that read a file of an earlier job: whose files they may read, and who deletes these."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from tests.integration.job_rows import claim
from tests.integration.retention.conftest import Scene
from tests.support.waiting import DEADLINE_SECONDS

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage, source_key
from pixelflow.adapters.wakeup import WakeUpSender
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.controlplane.jobs import transitions
from pixelflow.controlplane.jobs.service import JobService
from pixelflow.controlplane.retention import store
from pixelflow.errors import (
    JobNotFinishedError,
    LocalFilesDisabledError,
    NotFoundError,
    OutputMissingError,
    PixelflowError,
    SourceMissingError,
)

STEP = {"id": "small", "action": "resize", "width": 60}


@pytest.fixture
async def jobs(scene: Scene) -> AsyncIterator[JobService]:
    async with WakeUpSender(scene.settings.redis_url.get_secret_value()) as wakeups:
        yield JobService(
            scene.settings,
            database=scene.database,
            wakeups=wakeups,
            objects=ObjectStorage(scene.settings),
            local_files=LocalFiles(scene.settings.local_roots, shared=True),
        )


async def _create(jobs: JobService, origin: UUID, *, output: str | None = None, user_id: str = "user") -> UUID:
    request = CreateJobRequest.model_validate(
        {"source": {"job": origin} | ({"output": output} if output else {}), "pipeline": [STEP]}
    )
    created = await jobs.create(user_id, request, job_id=new_id())
    assert (created.upload.presigned_url_state, created.upload.presigned_put_url) == ("not_required", None)
    return created.job_id


async def _started(jobs: JobService, origin: UUID, *, output: str | None = None) -> UUID:
    job_id = await _create(jobs, origin, output=output)
    await jobs.start("user", job_id, traceparent=None)
    return job_id


async def _code_of(jobs: JobService, origin: UUID, *, output: str | None = None, user_id: str = "user") -> str:
    with pytest.raises(PixelflowError) as caught:
        await _create(jobs, origin, output=output, user_id=user_id)
    return caught.value.code


# ── Which files ──────────────────────────────────────────────────────────────────────────────────


async def test_the_source_of_an_earlier_job_is_read_where_it_is_with_its_version(
    scene: Scene, jobs: JobService
) -> None:
    origin = scene.succeed(scene.put("queued"))
    reader = await _started(jobs, origin)
    job = claim(scene.eye, reader)
    assert job
    assert (job.source_type, job.source_key, job.declared_sha256) == ("job", source_key(origin), "0" * 64)
    assert job.source_version
    shown = (await jobs._queries.get("user", reader)).source
    assert (shown.type, shown.job_id, shown.output, shown.bytes) == ("job", origin, None, 6)


async def test_an_output_of_an_earlier_job_is_read(scene: Scene, jobs: JobService) -> None:
    origin = scene.succeed(scene.put("queued"))
    reader = await _started(jobs, origin, output="small")
    job = claim(scene.eye, reader)
    assert job
    assert job.source_key == f"outputs/{origin}/1/small.webp"
    shown = (await jobs._queries.get("user", reader)).source
    assert (shown.job_id, shown.output, shown.content_type) == (origin, "small", "image/webp")


async def test_a_reader_of_a_reader_reads_the_file_of_the_first_job(scene: Scene, jobs: JobService) -> None:
    origin = scene.succeed(scene.put("queued"))
    reader = await _started(jobs, origin)
    assert claim(scene.eye, reader)
    second = await _started(jobs, reader)
    row = scene.row(second)
    assert row
    assert (row["source_job_id"], row["source_key"]) == (origin, source_key(origin))


async def test_a_job_of_another_user_is_as_unknown_as_one_that_does_not_exist(scene: Scene, jobs: JobService) -> None:
    origin = scene.succeed(scene.put("queued"))
    for job_id in (origin, uuid4()):
        assert await _code_of(jobs, job_id, user_id="other") == NotFoundError.code
    await jobs.erase("user", origin)
    assert await _code_of(jobs, origin) == NotFoundError.code


async def test_errors_say_what_a_job_can_give(scene: Scene, jobs: JobService) -> None:
    assert await _code_of(jobs, scene.put("created")) == JobNotFinishedError.code
    queued = scene.put("queued")
    assert await _code_of(jobs, queued, output="small") == JobNotFinishedError.code
    scene.succeed(queued)
    with pytest.raises(OutputMissingError, match="has no output `big`; it has `small`"):
        await _create(jobs, queued, output="big")
    failed = scene.put("failed")
    with pytest.raises(OutputMissingError, match="has no outputs: it has failed"):
        await _create(jobs, failed, output="small")
    expired = scene.put("failed", source_expired_at="now")
    assert await _code_of(jobs, expired) == SourceMissingError.code


async def test_the_file_of_a_local_job_is_a_local_source(scene: Scene, jobs: JobService) -> None:
    photo = scene.root / "photo.jpg"
    photo.write_bytes(b"pixels")
    origin = scene.succeed(scene.put("queued", source_type="local_file", source_key=str(photo)))
    reader = await _started(jobs, origin)
    job = claim(scene.eye, reader)
    assert job
    assert (job.source_type, job.source_key) == ("local_file", str(photo))
    of_output = await _started(jobs, origin, output="small")
    job = claim(scene.eye, of_output)
    assert job
    assert (job.source_type, Path(job.source_key).name) == ("local_file", "small.webp")


async def test_a_local_file_that_its_user_may_not_read_any_more_is_refused(scene: Scene, jobs: JobService) -> None:
    photo = scene.root / "photo.jpg"
    photo.write_bytes(b"pixels")
    origin = scene.put("failed", source_type="local_file", source_key=str(photo))
    jobs._places._local_files = LocalFiles(scene.settings.local_roots, shared=False)
    assert await _code_of(jobs, origin) == LocalFilesDisabledError.code


# ── Whose files ──────────────────────────────────────────────────────────────────────────────────


async def test_no_file_expires_while_an_unfinished_job_reads_it(scene: Scene, jobs: JobService) -> None:
    origin = scene.age(scene.succeed(scene.put("queued")), days=30)
    of_source, of_output = await _started(jobs, origin), await _create(jobs, origin, output="small")
    assert await scene.run() == 0
    assert len(scene.keys(origin)) == 2
    scene.fail(of_source)
    await scene.run()
    assert scene.keys(origin) == {f"outputs/{origin}/1/small.webp"}
    await jobs.cancel("user", of_output)
    await scene.run()
    assert scene.keys(origin) == set()


async def test_a_job_deletes_no_file_of_an_earlier_job(scene: Scene, jobs: JobService) -> None:
    origin = scene.succeed(scene.put("queued"))
    kept = scene.keys(origin)
    readers = [scene.age(scene.fail(await _started(jobs, origin)), days=8) for _ in range(2)]
    await jobs.erase("user", readers[0])
    await jobs.erase("user", await _create(jobs, origin, output="small"))
    await scene.run(job=7)
    assert scene.keys(origin) == kept
    assert scene.row(readers[1]) is None, "the job itself is deleted"


async def test_a_source_that_is_too_large_for_a_new_limit_stays_with_its_owner(scene: Scene, jobs: JobService) -> None:
    origin = scene.succeed(scene.put("queued"))
    reader = await _create(jobs, origin)
    jobs._settings = scene.settings.model_copy(update={"max_source_bytes": 5})
    with pytest.raises(PixelflowError) as caught:
        await jobs.start("user", reader, traceparent=None)
    assert caught.value.code == "source_too_large"
    assert source_key(origin) in scene.keys(origin)


async def test_an_erasure_wins(scene: Scene, jobs: JobService) -> None:
    origin = scene.succeed(scene.put("queued"))
    waiting, queued = await _create(jobs, origin), await _started(jobs, origin)
    await jobs.erase("user", origin)
    await scene.run()
    with pytest.raises(SourceMissingError, match=f"The file of the job {origin} has expired or was erased"):
        await jobs.start("user", waiting, traceparent=None)
    scene.fail(queued)  # a worker finds no object: `source_gone`
    with pytest.raises(SourceMissingError):
        await jobs.retry("user", queued, traceparent=None)


async def test_a_retry_needs_the_file_of_the_earlier_job(scene: Scene, jobs: JobService) -> None:
    origin = scene.succeed(scene.put("queued"))
    reader = scene.fail(await _started(jobs, origin))
    assert (await jobs.retry("user", reader, traceparent=None)).status == JobStatus.QUEUED
    scene.fail(reader)
    scene.age(origin, days=11)
    await scene.run()
    with pytest.raises(SourceMissingError):
        await jobs.retry("user", reader, traceparent=None)


async def test_an_expiry_that_began_before_the_start_sees_the_job_or_the_job_sees_it(
    scene: Scene, jobs: JobService
) -> None:
    origin = scene.age(scene.succeed(scene.put("queued")), days=11)
    reader = await _create(jobs, origin)
    scene.eye.execute("UPDATE jobs SET status = 'canceled', finished_at = now() WHERE job_id = %s", (reader,))
    async with scene.database.connection() as connection, asyncio.timeout(DEADLINE_SECONDS):
        async with connection.transaction():
            assert await store.expire_sources(connection, age=timedelta(days=10), limit=10) == 1
            scene.eye.execute("UPDATE jobs SET queued_at = now() WHERE job_id = %s", (reader,))
            retry = asyncio.create_task(jobs.retry("user", reader, traceparent=None))
            while not scene.eye.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone():  # noqa: ASYNC110 - polls the server
                await asyncio.sleep(0.01)
        with pytest.raises(SourceMissingError):
            await retry


async def test_an_expiry_skips_the_file_of_a_job_that_is_being_queued(scene: Scene, jobs: JobService) -> None:
    origin = scene.age(scene.succeed(scene.put("queued")), days=11)
    reader = scene.fail(await _started(jobs, origin))
    async with scene.database.connection() as connection, connection.transaction():
        assert await transitions.queue(
            connection,
            job_id=reader,
            user_id="user",
            moved_from=[JobStatus.FAILED],
            new_run=True,
            source_key=source_key(origin),
            source_bytes=6,
            source_version="",
            traceparent=None,
            max_active=None,
        )
        async with scene.database.connection() as other:
            assert await store.expire_sources(other, age=timedelta(days=10), limit=10) == 0
