"""Uploads of one user: their limits, the pinned version, and those that are refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from tests.integration.job_rows import claim, row_of
from tests.support.signed_requests import Target, send

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.postgres.database import AsyncDatabase, Connection
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage, source_key
from pixelflow.adapters.wakeup import WakeUpSender
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.responses import CreatedJob
from pixelflow.controlplane.jobs.service import JobService
from pixelflow.devstack.stack import Stack
from pixelflow.errors import (
    SourceChangedError,
    SourceMissingError,
    SourceTooLargeError,
    TooManyUploadsError,
    UrlSourcesDisabledError,
    ValidationFailedError,
)
from pixelflow.settings import Settings
from pixelflow.settings.buckets import NamedBucket

CONTENT, OTHER = b"content", b"changed"
STEP = {"id": "small", "action": "resize", "width": 60}
LIMITS = {"max_pending_uploads": 3, "max_pending_upload_bytes": 25, "max_source_bytes": 10}


class Client:
    """A client with its user's jobs."""

    def __init__(self, settings: Settings, database: AsyncDatabase, wakeups: WakeUpSender) -> None:
        self.settings = settings
        self.objects = ObjectStorage(settings)
        self.jobs = JobService(
            settings,
            database=database,
            wakeups=wakeups,
            objects=self.objects,
            local_files=LocalFiles(()),
        )

    async def create(self, *, job_id: UUID | None = None, user_id: str = "user", **source: Any) -> CreatedJob:  # noqa: ANN401
        body = {"pipeline": [STEP], "source": source or {"content_length": len(CONTENT)}}
        return await self.jobs.create(user_id, CreateJobRequest.model_validate(body), job_id=job_id or new_id())

    async def uploaded(self, **source: Any) -> UUID:  # noqa: ANN401
        created = await self.create(**source)
        put(created, CONTENT)
        return created.job_id

    async def start(self, job_id: UUID) -> None:
        await self.jobs.start("user", job_id, traceparent=None)


def put(created: CreatedJob, content: bytes) -> None:
    """Upload as the response says."""
    assert send_upload(created, content) == 200


def send_upload(created: CreatedJob, content: bytes) -> int:
    """The same, with any result; returns the status."""
    assert created.upload.presigned_put_url
    return send("PUT", created.upload.presigned_put_url, content, created.upload.headers).status


@pytest.fixture
async def client(connection: Connection, quiet: Settings, async_database: AsyncDatabase) -> AsyncIterator[Client]:
    del connection  # empties the tables first
    async with WakeUpSender(quiet.redis_url.get_secret_value()) as wakeups:
        yield Client(quiet.model_copy(update=LIMITS), async_database, wakeups)


def fetch(client: Client, job_id: UUID, version: str | None, copy: Path) -> bytes:
    with copy.open("wb", buffering=0) as file:
        client.objects.fetch(source_key(job_id), file, max_bytes=10, version=version or "")
    return copy.read_bytes()


# ── The pinned version ───────────────────────────────────────────────────────────────────────────


async def replace(client: Client, stack: Stack, job_id: UUID, content: bytes) -> None:
    """Replace an upload by another of the same size, two seconds later: the server has no ETags."""
    url = Target.of(stack.environment).presign("PUT", source_key(job_id))
    before = await _modified(client, job_id)
    await asyncio.sleep(2)
    assert send("PUT", url, content).status == 200
    assert await _modified(client, job_id) >= before + 2


async def _modified(client: Client, job_id: UUID) -> int:
    found = await client.objects.find(source_key(job_id))
    assert found
    return int(found.version.removeprefix("modified:"))


async def test_a_source_that_is_replaced_after_the_start_is_not_fetched(
    client: Client, connection: Connection, quiet_stack: Stack, tmp_path: Path
) -> None:
    job_id = await client.uploaded()
    await client.start(job_id)
    claimed = claim(connection, job_id)
    assert claimed
    assert fetch(client, job_id, claimed.source_version, tmp_path / "copy") == CONTENT
    await replace(client, quiet_stack, job_id, OTHER)
    with pytest.raises(SourceChangedError):
        fetch(client, job_id, claimed.source_version, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b""


async def test_a_retry_is_for_the_source_that_is_there_then(
    client: Client, connection: Connection, quiet_stack: Stack, tmp_path: Path
) -> None:
    job_id = await client.uploaded()
    await client.start(job_id)
    await client.jobs.cancel("user", job_id)
    await replace(client, quiet_stack, job_id, OTHER)
    await client.jobs.retry("user", job_id, traceparent=None)
    claimed = claim(connection, job_id)
    assert claimed
    assert fetch(client, job_id, claimed.source_version, tmp_path / "copy") == OTHER


async def test_a_run_that_an_older_release_queued_has_no_version(client: Client, connection: Connection) -> None:
    job_id = await client.uploaded()
    await client.start(job_id)
    connection.execute("UPDATE jobs SET run = run + 1 WHERE job_id = %s", (job_id,))
    claimed = claim(connection, job_id)
    assert claimed
    assert claimed.source_version is None


# ── Limits ───────────────────────────────────────────────────────────────────────────────────────


async def test_the_bytes_of_pending_uploads_are_limited(client: Client) -> None:
    jobs = [(await client.create(content_length=10)).job_id for _ in range(2)]
    with pytest.raises(TooManyUploadsError, match="25 bytes"):
        await client.create(content_length=6)
    await client.create(content_length=5)
    assert (await client.create(content_length=10, job_id=jobs[0])).job_id == jobs[0], "a repeated request"
    await client.create(content_length=10, user_id="other")


async def test_their_number_is_limited(client: Client) -> None:
    for _ in range(3):
        await client.create(content_length=1)
    with pytest.raises(TooManyUploadsError, match="3 uploads"):
        await client.create(content_length=1)


async def test_a_started_job_no_longer_counts(client: Client) -> None:
    jobs = [await client.uploaded(content_length=len(CONTENT)) for _ in range(3)]
    with pytest.raises(TooManyUploadsError):
        await client.create()
    await client.start(jobs[0])
    await client.create(content_length=1)


@pytest.mark.parametrize("end", ["cancel", "erase"])
async def test_a_job_that_ends_unstarted_counts_as_long_as_its_upload_may_arrive(client: Client, end: str) -> None:
    for _ in range(3):
        created = await client.create(content_length=1)
        await getattr(client.jobs, end)("user", created.job_id)
    with pytest.raises(TooManyUploadsError):
        await client.create(content_length=1)


async def test_an_upload_without_a_declared_size_counts_as_the_largest_source(client: Client) -> None:
    for _ in range(2):
        await client.create(content_type="image/jpeg")
    with pytest.raises(TooManyUploadsError):
        await client.create(content_type="image/jpeg")


# ── Sizes and hashes ─────────────────────────────────────────────────────────────────────────────


async def test_the_size_is_required_unless_the_settings_say_otherwise(client: Client) -> None:
    request = CreateJobRequest.model_validate({"pipeline": [STEP]})
    client.settings.__dict__["upload_length"] = "required"
    with pytest.raises(ValidationFailedError) as raised:
        client.jobs.check("user", request)
    assert [error.pointer for error in raised.value.errors] == ["/source/content_length"]
    client.jobs.check("user", request.model_copy(update={"source_type": "local_file"}))
    client.settings.__dict__["upload_length"] = "optional"
    client.jobs.check("user", request)


async def test_only_the_declared_size_can_be_uploaded(client: Client) -> None:
    created = await client.create()
    assert created.upload.content_length == len(CONTENT)
    assert "Content-Length" not in created.upload.headers, "no browser may set it"
    for content in (CONTENT + b"!", CONTENT[:-1]):
        assert send_upload(created, content) == 403
    put(created, CONTENT)


async def test_an_upload_over_the_limit_is_deleted_when_it_is_refused(client: Client) -> None:
    created = await client.create(content_type="image/jpeg")
    put(created, bytes(11))
    with pytest.raises(SourceTooLargeError):
        await client.start(created.job_id)
    assert await client.objects.find(source_key(created.job_id)) is None
    with pytest.raises(SourceMissingError):
        await client.start(created.job_id)
    put(created, CONTENT)
    await client.start(created.job_id)


async def test_an_erased_job_keeps_no_hash(client: Client, connection: Connection) -> None:
    job_id = await client.uploaded(content_length=len(CONTENT), sha256="0" * 64)
    await client.start(job_id)
    await client.jobs.erase("user", job_id)
    row = row_of(connection, job_id)
    assert {row[name] for name in ("declared_sha256", "source_version", "source_sha256")} == {None}


# ── Sources by URL ───────────────────────────────────────────────────────────────────────────────


async def test_a_job_with_a_url_starts_without_a_size_and_keeps_no_url_when_it_is_erased(
    client: Client, connection: Connection
) -> None:
    created = await client.create(url="https://img.example/a.jpg?token=s3cr3t")
    await client.start(created.job_id)
    row = row_of(connection, created.job_id)
    assert (row["status"], row["source_url"], row["source_bytes"]) == (
        "queued",
        "https://img.example/a.jpg?token=s3cr3t",
        None,
    )
    assert "url_sources" in row["requires"]
    assert (await client.jobs._queries.get("user", created.job_id)).source.url == "https://img.example/a.jpg"
    await client.jobs.erase("user", created.job_id)
    assert row_of(connection, created.job_id)["source_url"] is None


async def test_a_job_with_an_object_keeps_neither_bucket_nor_key_when_it_is_erased(
    connection: Connection, quiet: Settings, async_database: AsyncDatabase
) -> None:
    photos = NamedBucket.model_validate(
        {
            "bucket": "photos",
            "endpoint_url": "http://127.0.0.1:9",
            "credentials": "aws",
            "outputs": False,
            "sources": True,
            "source_prefix": "",
        }
    )
    async with WakeUpSender(quiet.redis_url.get_secret_value()) as wakeups:
        client = Client(quiet.model_copy(update={"buckets": {"photos": photos}}), async_database, wakeups)
        job_id = (await client.create(bucket="photos", key="anna.jpg")).job_id
        await client.start(job_id)
        row = row_of(connection, job_id)
        assert (row["status"], row["source_bucket"], row["source_key"]) == ("queued", "photos", "anna.jpg")
        await client.jobs.erase("user", job_id)
    row = row_of(connection, job_id)
    assert (row["source_bucket"], row["source_key"]) == (None, "")


async def test_jobs_with_a_url_are_refused_unless_the_operator_enabled_them(
    connection: Connection, quiet: Settings, async_database: AsyncDatabase
) -> None:
    del connection
    async with WakeUpSender(quiet.redis_url.get_secret_value()) as wakeups:
        client = Client(quiet.model_copy(update={"url_sources": False}), async_database, wakeups)
        with pytest.raises(UrlSourcesDisabledError):
            await client.create(url="https://img.example/a.jpg")
