"""Starts and retries of jobs: by their owner, or by the controller when their sources have arrived.

Never reads or moves the bytes of an image.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager, nullcontext
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncDatabase, of_user
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage, source_key
from pixelflow.adapters.wakeup import WakeUpSender
from pixelflow.contracts.jobs.responses import StartedJob
from pixelflow.contracts.jobs.sources import SourceType
from pixelflow.contracts.jobs.states import FINISHED, JobStatus
from pixelflow.contracts.messages import QUEUE, ProcessImage, task_id_of
from pixelflow.controlplane.jobs import transitions
from pixelflow.controlplane.jobs.parts import PartUploads
from pixelflow.controlplane.jobs.queries import job_not_found
from pixelflow.controlplane.jobs.start_rules import ENDED, already_started, check_not_expired, source_missing
from pixelflow.controlplane.jobs.transitions import JobState
from pixelflow.controlplane.jobs.uploads import PinnedSource, UploadedSource, Uploads, remove_refused
from pixelflow.errors import (
    JobAlreadyFinishedError,
    JobNotFinishedError,
    ObjectsUnavailableError,
    SourceTooLargeError,
)
from pixelflow.settings import Settings

_RETRIABLE = frozenset({JobStatus.FAILED, JobStatus.CANCELED})


class JobStarts:
    """Queues the jobs of users. ``user_id`` comes from the authenticated credentials, or from the job."""

    def __init__(
        self,
        settings: Settings,
        *,
        database: AsyncDatabase,
        wakeups: WakeUpSender,
        objects: ObjectStorage,
        local_files: LocalFiles,
        on_enqueued: Callable[[], None] = lambda: None,
        on_change: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``on_enqueued`` is called for each job that was queued, ``on_change`` with the owner of a changed one."""
        self._settings = settings
        self._database = database
        self._wakeups = wakeups
        self._objects = objects
        self._uploads = Uploads(settings, objects)
        self._parts = PartUploads(settings, database=database, objects=objects)
        self._local_files = local_files
        self._on_enqueued = on_enqueued
        self._on_change = on_change

    async def start(
        self, user_id: str, job_id: UUID, *, traceparent: str | None, keep_refused: bool = False
    ) -> StartedJob:
        """Queue the job. Idempotent: a queued or processing job gives the same response.

        An upload that is too large is deleted. ``keep_refused``: it stays, because the caller fails the job first.

        Raises:
            NotFoundError: the user has no such job.
            JobAlreadyFinishedError: the job has finished.
            SourceMissingError, SourceTooLargeError: the job can't run with its source.
            ObjectsUnavailableError: object storage does not answer.
        """
        unavailable = None
        try:
            if (source := await self._find_uploaded(job_id)) and (
                started := await self._move_to_queue(
                    user_id, job_id, source, {JobStatus.CREATED}, new_run=False, traceparent=traceparent
                )
            ):
                return started
        except ObjectsUnavailableError as error:
            unavailable = error
        # Errors are raised in the documented order: the job's status before its source.
        job = await self._find(user_id, job_id)
        if job.status in FINISHED:
            raise JobAlreadyFinishedError(
                f"The job has {ENDED[job.status]}; create a new one, or retry it if it failed"
            )
        async with nullcontext() if keep_refused else self._removing_refused(job):
            return await self._queue_unless_started(
                user_id, job_id, job, {JobStatus.CREATED}, traceparent=traceparent, unavailable=unavailable
            )

    async def retry(self, user_id: str, job_id: UUID, *, traceparent: str | None) -> StartedJob:
        """Start a new run of a failed or canceled job, with all its attempts. Idempotent like ``start``.

        Raises:
            NotFoundError: the user has no such job.
            JobAlreadyFinishedError: the job succeeded.
            JobNotFinishedError: the job was never started.
            SourceMissingError, SourceTooLargeError: the job can't run with its source.
            ObjectsUnavailableError: object storage does not answer.
        """
        job = await self._find(user_id, job_id)
        if job.status == JobStatus.SUCCEEDED:
            raise JobAlreadyFinishedError("The job has succeeded; create a new one")
        if job.status == JobStatus.CREATED:
            raise JobNotFinishedError("The job was never started; start it")
        async with self._removing_refused(job):
            return await self._queue_unless_started(user_id, job_id, job, _RETRIABLE, traceparent=traceparent)

    @asynccontextmanager
    async def _removing_refused(self, job: JobState) -> AsyncIterator[None]:
        try:
            yield
        except SourceTooLargeError:
            if job.source_type == SourceType.S3_PRESIGNED:  # the job owns no other source
                await remove_refused(self._objects, job.source_key)
            raise

    async def _find(self, user_id: str, job_id: UUID) -> JobState:
        async with self._database.connection(of_user(user_id)) as connection:
            job = await transitions.find(connection, job_id=job_id, user_id=user_id)
        if job is None:
            raise job_not_found()
        return job

    async def _find_uploaded(self, job_id: UUID) -> UploadedSource | None:
        """Return the upload for a job ID of any user, or ``None`` if no job can run with it."""
        found = await self._uploads.find(source_key(job_id))
        return None if found is None or found.bytes > self._settings.max_source_bytes else found

    async def _check_source(
        self, job_id: UUID, job: JobState, *, unavailable: ObjectsUnavailableError | None = None
    ) -> PinnedSource:
        """Return the job's source; ``unavailable`` is the error of a request to storage that need not be repeated."""
        check_not_expired(job)
        if job.source_type in {SourceType.URL, SourceType.BUCKET}:
            return PinnedSource(job.source_key)
        if job.source_type == SourceType.LOCAL_FILE:
            size = await asyncio.to_thread(self._local_files.size_of, job.source_key)
            source = None if size is None else UploadedSource(job.source_key, size)
        elif unavailable is not None:
            raise unavailable
        else:
            if job.multipart_upload is not None and job.declared_bytes is not None:
                await self._parts.complete(job_id, job.multipart_upload, job.declared_bytes)
            source = await self._uploads.find(job.source_key)
        if source is None:
            raise source_missing(job)
        if source.bytes > self._settings.max_source_bytes:
            raise SourceTooLargeError(
                f"The source has {source.bytes} bytes; the limit is {self._settings.max_source_bytes}"
            )
        return source

    async def _queue_unless_started(
        self,
        user_id: str,
        job_id: UUID,
        job: JobState,
        moved_from: AbstractSet[JobStatus],
        *,
        traceparent: str | None,
        unavailable: ObjectsUnavailableError | None = None,
    ) -> StartedJob:
        if job.status not in moved_from:
            return already_started(job_id, job)
        source = await self._check_source(job_id, job, unavailable=unavailable)
        new_run = job.status != JobStatus.CREATED
        started = await self._move_to_queue(
            user_id, job_id, source, moved_from, new_run=new_run, traceparent=traceparent
        )
        if started is None:  # a concurrent request moved the job; return the result of that one
            job = await self._find(user_id, job_id)
            check_not_expired(job)
            return already_started(job_id, job)
        return started

    async def _move_to_queue(
        self,
        user_id: str,
        job_id: UUID,
        source: PinnedSource,
        moved_from: AbstractSet[JobStatus],
        *,
        new_run: bool,
        traceparent: str | None,
    ) -> StartedJob | None:
        """Queue the job and wake a worker; ``None`` if the job can't be moved. Succeeds while Redis is down."""
        async with self._database.connection(of_user(user_id)) as connection:
            queued = await transitions.queue(
                connection,
                job_id=job_id,
                user_id=user_id,
                moved_from=moved_from,
                new_run=new_run,
                source_key=source.key,
                source_bytes=source.bytes,
                source_version=source.version,
                traceparent=traceparent,
                max_active=self._settings.queue_max_active_per_user,
            )
        if queued is None:
            return None
        self._on_enqueued()
        self._on_change(user_id)
        self._wakeups.send(ProcessImage(job_id=job_id, requested_at=queued.queued_at, traceparent=traceparent))
        return StartedJob(
            job_id=job_id,
            status=JobStatus.QUEUED,
            queue=QUEUE,
            task_id=task_id_of(job_id, queued.run),
            enqueued_at=queued.queued_at,
        )
