"""``expires_at`` and ``expired_at`` in responses, before and after the expiry."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import pytest
from tests.integration.retention.conftest import Scene

from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.contracts.jobs.responses import Job, JobPage
from pixelflow.controlplane.jobs.filters import JobFilters
from pixelflow.controlplane.jobs.queries import JobQueries
from pixelflow.settings import Settings


async def response(scene: Scene, job_id: UUID, **days: float | None) -> Job:
    used = scene.settings.model_copy(update={f"retention_{name}_days": value for name, value in days.items()})
    jobs = JobQueries(used, database=scene.database, objects=ObjectStorage(used))
    job = await jobs.get("user", job_id)
    page = JobPage.model_validate_json(await jobs.list_newest("user", JobFilters(), limit=10, cursor=None))
    assert job.expires_at in [each.expires_at for each in page.data], "lists must return the same"
    return job


def since(moment: datetime | None, job: Job) -> float | None:
    """Days from ``moment`` to the expiry of the job."""
    return (job.expires_at - moment) / timedelta(days=1) if job.expires_at and moment else None


async def test_a_created_job_expires_with_its_upload(scene: Scene) -> None:
    job = await response(scene, scene.put("created"), upload=3)
    assert since(job.created_at, job) == 3


@pytest.mark.parametrize("status", ["queued", "processing"])
async def test_a_queued_or_processing_job_does_not_expire(scene: Scene, status: str) -> None:
    assert (await response(scene, scene.put(status))).expires_at is None


@pytest.mark.parametrize(
    ("days", "succeeded", "failed"),
    [
        ({"source": 10, "output": 20, "job": None}, 20, 10),
        ({"source": None, "output": 20, "job": None}, 20, None),
        ({"source": 10, "output": None, "job": 30}, 30, 10),
        ({"source": None, "output": None, "job": 30}, 30, 30),
        ({"source": None, "output": None, "job": None}, None, None),
    ],
)
async def test_a_finished_job_expires_with_its_outputs_or_its_source(
    scene: Scene, days: dict[str, float | None], succeeded: float | None, failed: float | None
) -> None:
    job = await response(scene, scene.succeed(scene.put("queued")), **days)
    assert since(job.finished_at, job) == succeeded
    job = await response(scene, scene.fail(scene.put("queued")), **days)
    assert since(job.finished_at, job) == failed


async def test_a_local_source_expires_only_with_its_job(scene: Scene) -> None:
    job_id = scene.put("canceled", source_type="local_file", source_key=str(scene.root / "photo.jpg"))
    assert (await response(scene, job_id)).expires_at is None
    assert since((job := await response(scene, job_id, job=30)).finished_at, job) == 30


async def test_an_expired_job_shows_when_its_files_expired(scene: Scene, quiet: Settings) -> None:
    job_id = scene.succeed(scene.put("queued"))
    job = await response(scene, job_id)
    assert (job.source.expired_at, job.outputs[0].expired_at) == (None, None)
    assert job.outputs[0].download_url
    scene.age(job_id, days=21)
    await scene.rows().run_once()
    scene.settings = quiet  # other periods now
    job = await response(scene, job_id)
    assert job.outputs[0].download_url is None
    assert (job.outputs[0].bytes, job.outputs[0].sha256) == (6, "0" * 64)
    assert job.source.expired_at
    assert job.expires_at == job.outputs[0].expired_at


async def test_a_failed_job_expired_with_its_source(scene: Scene, quiet: Settings) -> None:
    job_id = scene.age(scene.fail(scene.put("queued")), days=11)
    await scene.rows().run_once()
    scene.settings = quiet
    job = await response(scene, job_id)
    assert job.expires_at == job.source.expired_at
    assert job.expires_at
