"""Uploads in parts: their sizes, what is missing, the start of a job with them, and their end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from tests.integration.job_rows import row_of
from tests.support.checked_s3 import CheckedS3, Session, running_s3
from tests.support.signed_requests import send

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.postgres.database import AsyncDatabase, Connection
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.multipart import MAX_PARTS, MIN_PART_BYTES, part_sizes
from pixelflow.adapters.storage.objects import ObjectStorage, source_key
from pixelflow.adapters.wakeup import WakeUpSender
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.responses import CreatedJob
from pixelflow.contracts.uploads import UploadPart
from pixelflow.controlplane.jobs.auto_start import AutoStarter, CheckOutcome
from pixelflow.controlplane.jobs.service import JobService
from pixelflow.controlplane.retention.gc import FileCollector
from pixelflow.errors import NotFoundError, ObjectsUnavailableError, SourceMissingError
from pixelflow.settings import Settings

CONTENT = b"a" * MIN_PART_BYTES + b"end"
STEP = {"id": "small", "action": "resize", "width": 60}
KEY = Session("AKIATEAM", "team-secret")


class Owner:
    """The owner of jobs, the controller, and a storage that checks each request."""

    def __init__(self, settings: Settings, database: AsyncDatabase, wakeups: WakeUpSender, s3: CheckedS3) -> None:
        self.s3 = s3
        self.outcomes: list[CheckOutcome] = []
        objects, local_files = ObjectStorage(settings), LocalFiles(())
        self.jobs = JobService(settings, database=database, wakeups=wakeups, objects=objects, local_files=local_files)
        grace = settings.upload_grace
        self.collector = FileCollector(database, objects, local_files, upload_grace=grace)
        self.starter = AutoStarter(
            database, objects, self.jobs, upload_grace=grace, on_check=self.outcomes.append, tick_seconds=0
        )

    def request(self, **fields: Any) -> CreateJobRequest:  # noqa: ANN401
        source = {"content_length": len(CONTENT), "content_type": "image/png", "multipart": True}
        return CreateJobRequest.model_validate({"pipeline": [STEP], "source": source, **fields})

    async def create(self, job_id: UUID | None = None, **fields: Any) -> CreatedJob:  # noqa: ANN401
        return await self.jobs.create("user", self.request(**fields), job_id=job_id or new_id())

    async def renewed(self, created: CreatedJob) -> list[UploadPart]:
        return parts_of(await self.jobs.renew_upload("user", self.request(), created))


def parts_of(created: CreatedJob) -> list[UploadPart]:
    assert created.upload.multipart
    return created.upload.multipart.parts


def put(part: UploadPart, *, more: bytes = b"") -> int:
    content = CONTENT[part.offset : part.offset + part.content_length]
    return send("PUT", part.url, content + more).status


@pytest.fixture
async def owner(connection: Connection, quiet: Settings, async_database: AsyncDatabase) -> AsyncIterator[Owner]:
    del connection  # empties the tables first
    with running_s3() as s3:
        s3.admit(KEY)
        s3.encryption = {"x-amz-server-side-encryption": "AES256"}
        values = {f"s3_{name}": value for name, value in s3.settings.items()}
        changed = {
            **values,
            "s3_public_endpoint_url": s3.url,
            "s3_access_key_id": KEY.key_id,
            "s3_secret_access_key": KEY.secret,
            "s3_sse": "AES256",
        }
        settings = Settings.model_validate(quiet.model_dump() | changed)
        async with WakeUpSender(quiet.redis_url.get_secret_value()) as wakeups:
            yield Owner(settings, async_database, wakeups, s3)


@pytest.mark.parametrize(
    ("length", "count"),
    [(1, 1), (MIN_PART_BYTES, 1), (MIN_PART_BYTES + 1, 2), (100_000_000, 12), (5_000_000_000, MAX_PARTS)],
)
def test_parts_are_equal_but_the_last_and_few(length: int, count: int) -> None:
    *full, last = part_sizes(length)
    assert (sum(full) + last, len(full) + 1) == (length, count)
    assert len(set(full)) <= 1
    assert all(last <= each >= MIN_PART_BYTES for each in full)


async def test_a_job_starts_with_all_parts_and_names_a_missing_one(owner: Owner, connection: Connection) -> None:
    created = await owner.create()
    first, last = parts_of(created)
    assert (first.number, last.number, last.offset, last.content_length) == (1, 2, MIN_PART_BYTES, 3)
    assert put(last, more=b"!") == 403, "the size is signed"
    assert put(last) == 200
    with pytest.raises(SourceMissingError, match="1 of the 2 parts are missing, such as part 1"):
        await owner.jobs.start("user", created.job_id, traceparent=None)
    [missing] = await owner.renewed(created)
    assert missing.number == 1
    assert put(missing) == 200
    assert await owner.renewed(created) == []
    for _ in range(2):
        started = await owner.jobs.start("user", created.job_id, traceparent=None)
    assert started.status == "queued"
    content, headers = owner.s3.objects[source_key(created.job_id)]
    assert content == CONTENT
    assert headers == {"content-type": "image/png", "x-amz-server-side-encryption": "AES256"}
    assert row_of(connection, created.job_id)["source_bytes"] == len(CONTENT)
    assert await owner.renewed(created) == []
    assert put(first) == 404, "nothing replaces a part of the source"


async def test_a_job_starts_by_itself_when_all_parts_are_there(owner: Owner, connection: Connection) -> None:
    created = await owner.create(auto_start=True)
    first, last = parts_of(created)
    for part, outcome in ((first, CheckOutcome.WAITING), (last, CheckOutcome.STARTED)):
        assert put(part) == 200
        connection.execute("UPDATE awaited_sources SET next_check_at = now()")
        await owner.starter.run_once()
        assert owner.outcomes.pop() is outcome
    assert owner.s3.objects[source_key(created.job_id)][0] == CONTENT


async def test_the_parts_of_an_erased_job_are_deleted(owner: Owner) -> None:
    created = await owner.create()
    first, last = parts_of(created)
    assert put(first) == 200
    await owner.jobs.erase("user", created.job_id)
    await owner.collector.run_once()
    assert owner.s3.uploads == {}
    assert put(last) == 404


async def test_an_upload_that_storage_forgot_is_begun_again(owner: Owner) -> None:
    created = await owner.create()
    assert put(parts_of(created)[0]) == 200
    owner.s3.uploads.clear()
    parts = await owner.renewed(created)
    assert [put(part) for part in parts] == [200, 200]
    assert (await owner.jobs.start("user", created.job_id, traceparent=None)).status == "queued"


async def test_a_part_that_is_replaced_during_the_start_does_not_start_the_job(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = await owner.create()
    for part in parts_of(created):
        put(part)
    [upload] = owner.s3.uploads.values()
    listed = dict(upload.parts)
    monkeypatch.setattr(upload, "parts", _ReplacedAfterTheList(listed))
    with pytest.raises(SourceMissingError, match="uploaded again"):
        await owner.jobs.start("user", created.job_id, traceparent=None)


class _ReplacedAfterTheList(dict[int, bytes]):
    def get(self, number: int, default: Any = None) -> Any:  # noqa: ANN401  # as dict
        return b"another" if number == 1 else super().get(number, default)


async def test_a_job_whose_upload_can_not_begin_stays_only_for_a_request_that_is_repeated(owner: Owner) -> None:
    kept, gone = new_id(), new_id()
    owner.s3.is_away = True
    with pytest.raises(ObjectsUnavailableError):
        await owner.create(kept)
    with pytest.raises(ObjectsUnavailableError):
        await owner.jobs.create("user", owner.request(), job_id=gone, can_be_repeated=False)
    owner.s3.is_away = False
    assert len(parts_of(await owner.create(kept))) == 2
    with pytest.raises(NotFoundError):
        await owner.jobs.start("user", gone, traceparent=None)
