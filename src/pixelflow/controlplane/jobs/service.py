"""The use cases that make and move a job: create, start, retry, cancel, erase.

They decide and own the transactions; they never see a byte of a picture.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from uuid import UUID

import structlog

from pixelflow.adapters.outbound_http import OutboundRule
from pixelflow.adapters.postgres.database import AsyncDatabase, of_user
from pixelflow.adapters.queue import JobQueue
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage, source_key
from pixelflow.contracts.errors import (
    FieldError,
    JobAlreadyFinishedError,
    JobNotFinishedError,
    ObjectsUnavailableError,
    QueueUnavailableError,
    TargetRefusedError,
    ValidationFailedError,
)
from pixelflow.contracts.jobs import (
    FINISHED,
    CreatedJob,
    CreateJobRequest,
    Job,
    JobStatus,
    RequestLimits,
    SourceType,
    StartedJob,
)
from pixelflow.contracts.messages import QUEUE, ProcessImage
from pixelflow.controlplane.idempotency import store as idempotency_store
from pixelflow.controlplane.jobs import store as jobs_store
from pixelflow.controlplane.jobs import transitions
from pixelflow.controlplane.jobs.queries import JobQueries, job_not_found
from pixelflow.controlplane.jobs.sources import Sources, UploadedSource, check_not_expired
from pixelflow.controlplane.queue import store as queue_store
from pixelflow.settings import Settings

_RETRIABLE = frozenset({JobStatus.FAILED, JobStatus.CANCELED})
_ENDED: dict[str, str] = {
    JobStatus.SUCCEEDED: "succeeded",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELED: "been canceled",
}

_log = structlog.get_logger(__name__)


class JobService:
    """What a user can do to jobs. Every method takes the ``user_id`` that the credentials said."""

    def __init__(
        self,
        settings: Settings,
        *,
        database: AsyncDatabase,
        queue: JobQueue,
        objects: ObjectStorage,
        local_files: LocalFiles,
        new_id: Callable[[], UUID],
        enqueued: Callable[[], None] = lambda: None,
    ) -> None:
        """Use what is given; ``enqueued`` is told of each message that was sent."""
        self._settings = settings
        self._database = database
        self._queue = queue
        self._local_files = local_files
        self._new_id = new_id
        self._enqueued = enqueued
        self._sources = Sources(settings, objects=objects, local_files=local_files)
        self._shown = JobQueries(settings, database=database, objects=objects)
        self._webhook_rule = OutboundRule.of_webhooks(settings)

    async def create(self, user_id: str, request: CreateJobRequest, *, job_id: UUID) -> CreatedJob:
        """Keep a new job and say how to upload its source; again with the same id keeps no second one.

        Raises:
            ValidationFailedError: the declared length is over the limit, or webhooks may not go to that URL.
            LocalFilesDisabledError: ``object_key`` is not under an allowed root.
        """
        self._check(request)
        if request.source_type is SourceType.LOCAL_FILE:
            key = await asyncio.to_thread(self._local_files.resolve, request.object_key or "")
        else:
            key = source_key(job_id)
        upload = self._sources.upload_of(request, key)
        async with self._database.connection(of_user(user_id)) as connection:
            await jobs_store.insert(
                connection,
                job_id=job_id,
                user_id=user_id,
                request=request,
                source_key=key,
                max_attempts=self._settings.max_attempts,
            )
        return CreatedJob(job_id=job_id, upload=upload, start_url=f"/v1/jobs/{job_id}/start")

    async def renew_upload(self, user_id: str, request: CreateJobRequest, created: CreatedJob) -> CreatedJob:
        """The answer to ``create`` as it would be now: its upload URL has its whole time before it, if it is of use."""
        async with self._database.connection(of_user(user_id)) as connection:
            job = await transitions.find(connection, job_id=created.job_id, user_id=user_id)
        if job is None or job.status != JobStatus.CREATED:
            return created
        return created.model_copy(update={"upload": self._sources.upload_of(request, created.upload.object_key)})

    @property
    def request_limits(self) -> RequestLimits:
        """Validation context of requests to ``create``."""
        return RequestLimits(self._settings.max_source_bytes)

    def _check(self, request: CreateJobRequest) -> None:
        """Check the webhook URL without resolving its host; each delivery checks the resolved addresses."""
        if request.webhook_url is None:
            return
        try:
            self._webhook_rule.judge(request.webhook_url)
        except TargetRefusedError as error:
            field = FieldError(pointer="/webhook_url", message=error.detail)
            raise ValidationFailedError("The job is not valid; see `errors`", [field]) from error

    async def start(self, user_id: str, job_id: UUID, *, traceparent: str | None) -> StartedJob:
        """Put the job on the queue; again while it is queued or processing: the same answer, nothing enqueued twice.

        Raises:
            NotFoundError: the user has no such job.
            JobAlreadyFinishedError: it is over.
            SourceMissingError, SourceTooLargeError: what was uploaded, or was not.
        """
        unavailable = None
        try:
            if (source := await self._sources.find_uploaded(job_id)) and (
                started := await self._move(
                    user_id, job_id, source, {JobStatus.CREATED}, new_run=False, traceparent=traceparent
                )
            ):
                return started
        except ObjectsUnavailableError as error:
            unavailable = error
        # What is in the way is told with care, in the order that is documented.
        job = await self._standing(user_id, job_id)
        if job.status in FINISHED:
            raise JobAlreadyFinishedError(
                f"The job has {_ENDED[job.status]}; create a new one, or retry it if it failed"
            )
        return await self._queue_job(
            user_id, job_id, job, {JobStatus.CREATED}, traceparent=traceparent, unavailable=unavailable
        )

    async def retry(self, user_id: str, job_id: UUID, *, traceparent: str | None) -> StartedJob:
        """Begin a new run of a failed or canceled job, with as many attempts as a new one has; idempotent as ``start``.

        Raises:
            NotFoundError: the user has no such job.
            JobAlreadyFinishedError: it succeeded.
            JobNotFinishedError: it was never started.
            SourceMissingError, SourceTooLargeError: what was uploaded, or was not.
        """
        job = await self._standing(user_id, job_id)
        if job.status == JobStatus.SUCCEEDED:
            raise JobAlreadyFinishedError("The job has succeeded; create a new one")
        if job.status == JobStatus.CREATED:
            raise JobNotFinishedError("The job was never started; start it")
        return await self._queue_job(user_id, job_id, job, _RETRIABLE, traceparent=traceparent)

    async def cancel(self, user_id: str, job_id: UUID) -> Job:
        """End the job as canceled, also while it is transformed; canceling a canceled job changes nothing.

        Raises:
            NotFoundError: the user has no such job.
            JobAlreadyFinishedError: it succeeded or failed.
        """
        async with self._database.connection(of_user(user_id)) as connection, connection.transaction():
            canceled = await transitions.cancel(connection, job_id=job_id, user_id=user_id)
        job = await self._shown.get(user_id, job_id)
        if not canceled and job.status is not JobStatus.CANCELED:
            ended = _ENDED.get(job.status, "ended meanwhile")  # and was retried after that
            raise JobAlreadyFinishedError(f"The job has {ended}; it can't be canceled any more")
        return job

    async def erase(self, user_id: str, job_id: UUID) -> None:
        """Make the job and all that is personal about it disappear at once, its files within seconds, by the pruner.

        Raises:
            NotFoundError: the user has no such job.
        """
        async with self._database.connection(of_user(user_id)) as connection, connection.transaction():
            if not await transitions.erase(connection, job_id=job_id, user_id=user_id):
                raise job_not_found()
            await idempotency_store.forget_job(connection, job_id=job_id, user_id=user_id)

    async def _standing(self, user_id: str, job_id: UUID) -> transitions.JobState:
        async with self._database.connection(of_user(user_id)) as connection:
            job = await transitions.find(connection, job_id=job_id, user_id=user_id)
        if job is None:
            raise job_not_found()
        return job

    async def _queue_job(
        self,
        user_id: str,
        job_id: UUID,
        job: transitions.JobState,
        moved_from: AbstractSet[JobStatus],
        *,
        traceparent: str | None,
        unavailable: ObjectsUnavailableError | None = None,
    ) -> StartedJob:
        """Queue it, unless it is on its way already."""
        if job.status not in moved_from:
            return _already_started(job_id, job)
        source = await self._sources.check(job, unavailable=unavailable)
        new_run = job.status != JobStatus.CREATED
        started = await self._move(user_id, job_id, source, moved_from, new_run=new_run, traceparent=traceparent)
        if started is None:  # somebody else was faster; theirs is the answer
            job = await self._standing(user_id, job_id)
            check_not_expired(job)
            return _already_started(job_id, job)
        return started

    async def _move(
        self,
        user_id: str,
        job_id: UUID,
        source: UploadedSource,
        moved_from: AbstractSet[JobStatus],
        *,
        new_run: bool,
        traceparent: str | None,
    ) -> StartedJob | None:
        """Put it on the queue, if it may be moved. Succeeds also while Redis is away: the relay sends later."""
        task_id = self._new_id()
        async with self._database.connection(of_user(user_id)) as connection:
            queued_at = await transitions.queue(
                connection,
                job_id=job_id,
                user_id=user_id,
                moved_from=moved_from,
                new_run=new_run,
                task_id=task_id,
                source_key=source.key,
                source_bytes=source.bytes,
                traceparent=traceparent,
            )
        if queued_at is None:
            return None
        await self._enqueue(
            user_id, task_id, ProcessImage(job_id=job_id, requested_at=queued_at, traceparent=traceparent)
        )
        return StartedJob(job_id=job_id, status=JobStatus.QUEUED, queue=QUEUE, task_id=task_id, enqueued_at=queued_at)

    async def _enqueue(self, user_id: str, task_id: UUID, message: ProcessImage) -> None:
        try:
            await asyncio.to_thread(self._queue.send, task_id, message)
            self._enqueued()
        except QueueUnavailableError:
            _log.warning("queue unavailable; the relay will send", job_id=str(message.job_id))
            async with self._database.connection(of_user(user_id)) as connection:
                await queue_store.unsend(connection, {message.job_id: task_id})


def _already_started(job_id: UUID, job: transitions.JobState) -> StartedJob:
    if job.status in FINISHED or job.task_id is None or job.queued_at is None:
        raise JobAlreadyFinishedError(f"The job has {_ENDED.get(job.status, 'ended')} meanwhile")
    return StartedJob(
        job_id=job_id, status=JobStatus(job.status), queue=QUEUE, task_id=job.task_id, enqueued_at=job.queued_at
    )
