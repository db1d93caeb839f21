"""Where a job's source is put, whether it is there, and small enough. Never reads or moves it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from uuid import UUID

from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage, source_key
from pixelflow.contracts.errors import ObjectsUnavailableError, SourceMissingError, SourceTooLargeError
from pixelflow.contracts.jobs import CreateJobRequest, SourceType, Upload
from pixelflow.controlplane.jobs.transitions import JobState
from pixelflow.settings import Settings


@dataclass(frozen=True)
class UploadedSource:
    """A source that a job may be started with."""

    key: str
    bytes: int


class Sources:
    """Says where they go, and looks for them."""

    def __init__(self, settings: Settings, *, objects: ObjectStorage, local_files: LocalFiles) -> None:
        self._objects = objects
        self._local_files = local_files
        self._max_bytes = settings.max_source_bytes
        self._upload_seconds = settings.upload_url_seconds

    def upload_of(self, request: CreateJobRequest, key: str) -> Upload:
        """How the source gets to ``key``, as of now."""
        if request.source_type is SourceType.LOCAL_FILE:
            return Upload(
                object_key=key,
                presigned_put_url=None,
                presigned_url_state="not_required",
                headers={},
                expires_at=None,
                max_bytes=self._max_bytes,
            )
        signed = self._objects.sign_upload(
            key,
            content_length=request.source.content_length if request.source else None,
            content_type=request.source.content_type if request.source else None,
            seconds=self._upload_seconds,
        )
        return Upload(
            object_key=key,
            presigned_put_url=signed.url,
            presigned_url_state="ready",
            headers=dict(signed.headers),
            expires_at=signed.expires_at,
            max_bytes=self._max_bytes,
        )

    async def find_uploaded(self, job_id: UUID) -> UploadedSource | None:
        """What was uploaded for a job of that id, whoever's it is, if a job may be started with it.

        Raises:
            ObjectsUnavailableError: the server does not answer.
        """
        key = source_key(job_id)
        size = await self._objects.size_of(key)
        return None if size is None or size > self._max_bytes else UploadedSource(key, size)

    async def check(self, job: JobState, *, unavailable: ObjectsUnavailableError | None = None) -> UploadedSource:
        """The job's source; ``unavailable`` is what storage has just said, and is not asked for a second time.

        Raises:
            SourceMissingError, SourceTooLargeError: the job can't be started with it.
            ObjectsUnavailableError: the server does not answer.
        """
        check_not_expired(job)
        if job.source_type == SourceType.LOCAL_FILE:
            size = await asyncio.to_thread(self._local_files.size_of, job.source_key)
        elif unavailable is not None:
            raise unavailable
        else:
            size = await self._objects.size_of(job.source_key)
        if size is None:
            raise SourceMissingError(
                "Upload the source with the URL that creating the job returned, then start it again"
            )
        if size > self._max_bytes:
            raise SourceTooLargeError(f"The source has {size} bytes; at most {self._max_bytes} are allowed")
        return UploadedSource(job.source_key, size)


def check_not_expired(job: JobState) -> None:
    """Whatever still lies in object storage is on its way out.

    Raises:
        SourceMissingError: the source was kept for its time.
    """
    if job.source_expired_at is not None:
        raise SourceMissingError("The source was kept for its time and is gone; create a new job")
