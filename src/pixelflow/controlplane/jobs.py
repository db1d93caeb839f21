"""The use cases of a job: create, start, show, list.

They decide and own the transactions; they never see a byte of a picture.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from pixelflow.adapters.local_files import LocalFiles
from pixelflow.adapters.objects import ObjectStorage, source_key
from pixelflow.adapters.queue import JobQueue
from pixelflow.adapters.store import dispatch, jobs
from pixelflow.adapters.store.database import AsyncDatabase
from pixelflow.contracts.job import (
    FINISHED,
    CreatedJob,
    CreateJobRequest,
    Job,
    JobPage,
    JobStatus,
    SourceType,
    StartedJob,
    Upload,
)
from pixelflow.contracts.messages import QUEUE, ProcessImage
from pixelflow.contracts.pipeline import MEDIA_TYPES, Format, output_name
from pixelflow.contracts.problems import (
    FieldError,
    JobAlreadyFinishedError,
    NotFoundError,
    QueueUnavailableError,
    SourceMissingError,
    SourceTooLargeError,
    ValidationFailedError,
)
from pixelflow.contracts.refusals import length_errors
from pixelflow.controlplane.job_view import view
from pixelflow.settings import Settings

_log = structlog.get_logger(__name__)


class Jobs:
    """What a user can do with jobs. Every method takes the ``user_id`` that the credentials said."""

    def __init__(
        self,
        settings: Settings,
        *,
        database: AsyncDatabase,
        queue: JobQueue,
        objects: ObjectStorage,
        local_files: LocalFiles,
        new_id: Callable[[], UUID],
    ) -> None:
        self._settings = settings
        self._database = database
        self._queue = queue
        self._objects = objects
        self._local_files = local_files
        self._new_id = new_id

    async def create(self, user_id: str, request: CreateJobRequest) -> CreatedJob:
        """Keep a new job and say how to upload its source.

        Raises:
            ValidationFailedError: the declared length is over the limit.
            LocalFilesDisabledError: ``object_key`` is not under an allowed root.
        """
        self._check_declared_length(request)
        job_id = self._new_id()
        if request.source_type is SourceType.LOCAL_FILE:
            key = await asyncio.to_thread(self._local_files.resolve, request.object_key or "")
        else:
            key = source_key(job_id)
        upload = self._upload(request, key)
        async with self._database.connection() as connection:
            await jobs.insert(
                connection,
                job_id=job_id,
                user_id=user_id,
                request=request,
                source_key=key,
                max_attempts=self._settings.max_attempts,
            )
        return CreatedJob(job_id=job_id, upload=upload, start_url=f"/v1/jobs/{job_id}/start")

    @property
    def max_source_bytes(self) -> int:
        """What a source may have, and so what may be declared."""
        return self._settings.max_source_bytes

    def _check_declared_length(self, request: CreateJobRequest) -> None:
        errors = length_errors(request.source and request.source.content_length, self.max_source_bytes)
        if errors:
            raise ValidationFailedError("The source would be too large", errors)

    def _upload(self, request: CreateJobRequest, key: str) -> Upload:
        if request.source_type is SourceType.LOCAL_FILE:
            return Upload(
                object_key=key,
                presigned_put_url=None,
                presigned_url_state="not_required",
                headers={},
                expires_at=None,
                max_bytes=self.max_source_bytes,
            )
        signed = self._objects.sign_upload(
            key,
            content_length=request.source.content_length if request.source else None,
            content_type=request.source.content_type if request.source else None,
            seconds=self._settings.upload_url_seconds,
        )
        return Upload(
            object_key=key,
            presigned_put_url=signed.url,
            presigned_url_state="ready",
            headers=dict(signed.headers),
            expires_at=signed.expires_at,
            max_bytes=self.max_source_bytes,
        )

    async def start(self, user_id: str, job_id: UUID, *, traceparent: str | None) -> StartedJob:
        """Put the job on the queue; again while it is queued or processing: the same answer, nothing enqueued twice.

        Succeeds also while the queue is away: the row is what counts, and the relay sends the message later.

        Raises:
            NotFoundError: the user has no such job.
            JobAlreadyFinishedError: it is over.
            SourceMissingError, SourceTooLargeError: what was uploaded, or was not.
        """
        async with self._database.connection() as connection:
            job = await jobs.find_startable(connection, job_id=job_id, user_id=user_id)
        if job is None:
            raise _no_such_job()
        if job.status != JobStatus.CREATED:
            return _already_started(job_id, job)
        size = await self._checked_source_size(job)
        task_id = self._new_id()
        async with self._database.connection() as connection:
            queued_at = await jobs.start(
                connection,
                job_id=job_id,
                user_id=user_id,
                task_id=task_id,
                source_bytes=size,
                traceparent=traceparent,
            )
        if queued_at is None:  # somebody else was faster; theirs is the answer
            return await self.start(user_id, job_id, traceparent=traceparent)
        await self._enqueue(task_id, ProcessImage(job_id=job_id, requested_at=queued_at, traceparent=traceparent))
        return StartedJob(job_id=job_id, status=JobStatus.QUEUED, queue=QUEUE, task_id=task_id, enqueued_at=queued_at)

    async def _checked_source_size(self, job: jobs.Startable) -> int:
        if job.source_type == SourceType.LOCAL_FILE:
            size = await asyncio.to_thread(self._local_files.size_of, job.source_key)
        else:
            size = await self._objects.size_of(job.source_key)
        if size is None:
            raise SourceMissingError(
                "Upload the source with the URL that creating the job returned, then start it again"
            )
        if size > self.max_source_bytes:
            raise SourceTooLargeError(f"The source has {size} bytes; at most {self.max_source_bytes} are allowed")
        return size

    async def _enqueue(self, task_id: UUID, message: ProcessImage) -> None:
        try:
            await asyncio.to_thread(self._queue.send, task_id, message)
        except QueueUnavailableError:
            _log.warning("queue unavailable; the relay will send", job_id=str(message.job_id))
            async with self._database.connection() as connection:
                await dispatch.unsend(connection, [task_id])

    async def get(self, user_id: str, job_id: UUID) -> Job:
        """The job, with a fresh download URL for each output.

        Raises:
            NotFoundError: the user has no such job.
        """
        async with self._database.connection() as connection:
            row = await jobs.find(connection, job_id=job_id, user_id=user_id)
        if row is None:
            raise _no_such_job()
        return view(row, self._download_url)

    async def list_newest(self, user_id: str, *, status: JobStatus | None, limit: int, cursor: str | None) -> JobPage:
        """One page of the user's jobs, newest first.

        Raises:
            ValidationFailedError: the cursor is none of ours.
        """
        before = _read_cursor(cursor) if cursor else None
        async with self._database.connection() as connection:
            rows = await jobs.list_newest(connection, user_id=user_id, status=status, limit=limit + 1, before=before)
        page = rows[:limit]
        return JobPage(
            data=[view(row, self._download_url) for row in page],
            next_cursor=_write_cursor(page[-1]) if len(rows) > limit else None,
        )

    def _download_url(self, row: jobs.JobRow, output: dict[str, Any]) -> str | None:
        if row.source_type == SourceType.LOCAL_FILE:
            return None
        format_ = Format(output["format"])
        return self._objects.sign_download(
            output["object_key"],
            media_type=MEDIA_TYPES[format_],
            file_name=output_name(output["step_id"], format_),
            seconds=self._settings.download_url_seconds,
        ).url


def _already_started(job_id: UUID, job: jobs.Startable) -> StartedJob:
    if job.status in FINISHED or job.task_id is None or job.queued_at is None:
        raise JobAlreadyFinishedError(f"The job has {job.status}; create a new one")
    return StartedJob(
        job_id=job_id, status=JobStatus(job.status), queue=QUEUE, task_id=job.task_id, enqueued_at=job.queued_at
    )


def _no_such_job() -> NotFoundError:
    return NotFoundError("You have no job of that id")


def _write_cursor(row: jobs.JobRow) -> str:
    return base64.urlsafe_b64encode(f"{row.created_at.isoformat()} {row.job_id}".encode()).decode()


def _read_cursor(cursor: str) -> tuple[datetime, UUID]:
    try:
        created_at, job_id = base64.urlsafe_b64decode(cursor).decode().split(" ")
        return datetime.fromisoformat(created_at), UUID(job_id)
    except (ValueError, binascii.Error) as error:
        wrong = FieldError(pointer="/query/cursor", message="must be a `next_cursor` of an earlier answer")
        raise ValidationFailedError("The cursor can't be read", [wrong]) from error
