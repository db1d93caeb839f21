"""Local files and the users of the API."""

from __future__ import annotations

from pathlib import Path

import pytest

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.postgres.database import AsyncDatabase, Connection
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.adapters.wakeup import WakeUpSender
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.controlplane.jobs.service import JobService
from pixelflow.errors import LocalFilesDisabledError
from pixelflow.settings import Settings


async def test_a_job_can_name_only_files_of_its_user(
    connection: Connection, quiet: Settings, async_database: AsyncDatabase, tmp_path: Path
) -> None:
    del connection  # empties the tables first
    (tmp_path / "alice").mkdir()
    photo = tmp_path / "alice" / "photo.jpg"
    photo.write_bytes(b"photo")
    step = {"id": "small", "action": "resize", "width": 60}
    body = {"source_type": "local_file", "object_key": str(photo), "pipeline": [step]}
    request = CreateJobRequest.model_validate(body)
    async with WakeUpSender(quiet.redis_url.get_secret_value()) as wakeups:
        objects, files = ObjectStorage(quiet), LocalFiles((tmp_path,))
        jobs = JobService(quiet, database=async_database, wakeups=wakeups, objects=objects, local_files=files)
        assert (await jobs.create("alice", request, job_id=new_id())).upload.object_key == str(photo)
        with pytest.raises(LocalFilesDisabledError):
            await jobs.create("bob", request, job_id=new_id())
