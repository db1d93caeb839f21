"""Use cases that change a job: create, start, retry, cancel, erase. They own the transactions.

Never reads or moves the bytes of an image.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from uuid import UUID

from pixelflow.adapters.outbound_http import OutboundRule
from pixelflow.adapters.postgres.database import AsyncDatabase, of_user
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.adapters.wakeup import WakeUpSender
from pixelflow.contracts.explanation import Explanation
from pixelflow.contracts.jobs.limits import RequestLimits
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.responses import CreatedJob, Job
from pixelflow.contracts.jobs.states import FINISHED, JobStatus
from pixelflow.controlplane.assets import service as assets
from pixelflow.controlplane.assets import store as assets_store
from pixelflow.controlplane.capabilities.service import check_supported
from pixelflow.controlplane.idempotency import store as idempotency_store
from pixelflow.controlplane.idempotency.store import AnsweredKey
from pixelflow.controlplane.jobs import awaited, transitions
from pixelflow.controlplane.jobs import store as jobs_store
from pixelflow.controlplane.jobs.destinations import Destinations
from pixelflow.controlplane.jobs.parts import is_in_parts, without_parts
from pixelflow.controlplane.jobs.places import SourcePlaces
from pixelflow.controlplane.jobs.plans import plan_of
from pixelflow.controlplane.jobs.queries import JobQueries, job_not_found
from pixelflow.controlplane.jobs.start_rules import ENDED
from pixelflow.controlplane.jobs.starts import JobStarts
from pixelflow.controlplane.jobs.store import Insertion, SourcePlace, Waiting
from pixelflow.controlplane.presets import service as presets
from pixelflow.controlplane.presets.service import AppliedPreset
from pixelflow.errors import (
    BatchClosedError,
    JobAlreadyFinishedError,
    NotFoundError,
    ObjectsUnavailableError,
    SourceMissingError,
    SourceTooLargeError,
)
from pixelflow.settings import Settings


@dataclass(frozen=True)
class _NewJob:
    """A job that is about to be inserted."""

    request: CreateJobRequest
    place: SourcePlace
    created: CreatedJob
    waiting: Waiting | None


class JobService(JobStarts):
    """Changes the jobs of one user. ``user_id`` comes from the authenticated credentials."""

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
        super().__init__(
            settings,
            database=database,
            wakeups=wakeups,
            objects=objects,
            local_files=local_files,
            on_enqueued=on_enqueued,
            on_change=on_change,
        )
        self.destinations = Destinations(settings.named_buckets)
        self._places = SourcePlaces(database, local_files, urls=settings.url_sources, buckets=settings.named_buckets)
        self._queries = JobQueries(settings, database=database, objects=objects)
        self._webhook_rule = OutboundRule.of_webhooks(settings)
        self._source_rule = OutboundRule.of_sources(settings)

    @property
    def request_limits(self) -> RequestLimits:
        """Validation context of requests to ``create``.

        URLs are checked without resolving their hosts; each connection checks the resolved addresses.
        """
        return RequestLimits(self._settings.max_source_bytes, self._webhook_rule.check, self._source_rule.check)

    def check(self, user_id: str, request: CreateJobRequest) -> None:
        """Check the declared size of an upload, if the settings require it, and the named buckets of the user.

        Raises:
            ValidationFailedError: the size is missing, or the user can't use a bucket.
        """
        self._uploads.require_length(request)
        self._places.check(user_id, request.source)
        self.destinations.check(user_id, request.destination)

    # ── Create ───────────────────────────────────────────────────────────────────────────────────

    async def create(
        self,
        user_id: str,
        request: CreateJobRequest,
        *,
        job_id: UUID,
        traceparent: str | None = None,
        can_be_repeated: bool = True,
    ) -> CreatedJob:
        """Create a job and return how to upload its source. Idempotent by ``job_id``.

        If an upload in parts can't begin, the job stays if the request ``can_be_repeated``, and is erased otherwise.

        Raises:
            ObjectsUnavailableError: an upload in parts can't begin.
            LocalFilesDisabledError: the local file is not under an allowed root.
            UrlSourcesDisabledError: sources by URL are not enabled.
            NotFoundError, JobNotFinishedError, OutputMissingError, SourceMissingError: an earlier job can't give the
                file that the request means.
            ValidationFailedError: the pipeline uses an asset that the user does not have, the size is missing, or the
                user has no such preset or it has other parameters.
            TooManyUploadsError: the user's pending uploads would exceed their number or their total size.
            UnsupportedCapabilityError: workers are live, and none has an optional capability that the job requires.
        """
        request, preset = await self._apply_preset(user_id, request)
        new = await self._prepare(user_id, request, job_id, traceparent)
        await self._insert(user_id, new, preset=preset, key=None)
        if not is_in_parts(request):
            return new.created
        try:
            return await self._parts.add_missing(user_id, request, new.created)
        except ObjectsUnavailableError:
            if not can_be_repeated:
                await self.erase(user_id, job_id)
            raise

    async def create_with_key(
        self,
        user_id: str,
        request: CreateJobRequest,
        *,
        job_id: UUID,
        answer: Callable[[CreatedJob], AnsweredKey],
        traceparent: str | None = None,
    ) -> CreatedJob | None:
        """As :meth:`create`, and store the idempotency key that ``answer`` makes of the response with the job.

        Returns ``None`` if the user has that key; nothing is created then.
        """
        request, preset = await self._apply_preset(user_id, request)
        new = await self._prepare(user_id, request, job_id, traceparent)
        if not await self._insert(user_id, new, preset=preset, key=answer(new.created)):
            return None
        return await self._parts.add_missing(user_id, request, new.created) if is_in_parts(request) else new.created

    async def _apply_preset(self, user_id: str, request: CreateJobRequest) -> tuple[CreateJobRequest, AppliedPreset]:
        if request.preset is None:
            return request, AppliedPreset()
        async with self._database.connection(of_user(user_id)) as connection:
            return await presets.apply(connection, user_id, request, request.preset)

    async def _prepare(self, user_id: str, request: CreateJobRequest, job_id: UUID, traceparent: str | None) -> _NewJob:
        self.destinations.check(user_id, request.destination)
        request, place = await self._places.find(user_id, request, job_id)
        upload = self._uploads.sign(request, place.key)
        created = CreatedJob(job_id=job_id, upload=upload, start_url=f"/v1/jobs/{job_id}/start")
        waiting = awaited.waiting_for(request, self._settings, traceparent) if request.auto_start else None
        return _NewJob(request, place, created, waiting)

    async def create_started(
        self,
        user_id: str,
        request: CreateJobRequest,
        preset: AppliedPreset,
        *,
        job_id: UUID,
        batch_id: UUID,
        traceparent: str | None,
    ) -> None:
        """Create and start a job of a batch, whose source is there already. Idempotent by ``job_id``.

        Raises:
            BatchClosedError: the batch takes no more jobs, or was deleted, and the job does not exist.
            RequestError: as ``create`` and ``start``.
        """
        new = await self._prepare(user_id, request, job_id, traceparent)
        await self._insert(user_id, new, preset=preset, key=None, batch_id=batch_id)
        try:
            job = await self._find(user_id, job_id)
        except NotFoundError:
            raise NotFoundError(
                "The batch had a job of this source, which was refused or erased; add the source to another batch"
            ) from None
        if job.status in FINISHED:
            return
        try:
            with suppress(JobAlreadyFinishedError):  # canceled meanwhile, with its batch
                await self._queue_unless_started(user_id, job_id, job, {JobStatus.CREATED}, traceparent=traceparent)
        except (SourceMissingError, SourceTooLargeError):
            await self.erase(user_id, job_id)
            raise

    async def _insert(
        self,
        user_id: str,
        new: _NewJob,
        *,
        preset: AppliedPreset,
        key: AnsweredKey | None,
        batch_id: UUID | None = None,
    ) -> bool:
        """Insert the job, and return whether it is new."""
        async with self._database.connection(of_user(user_id)) as connection:
            if self._settings.unsupported_jobs == "refuse":
                await check_supported(connection, new.request.requires)
            used = await assets.resolve(connection, user_id, new.request.pipeline)
            async with connection.transaction() if used else nullcontext():
                insertion = await jobs_store.insert(
                    connection,
                    job_id=new.created.job_id,
                    user_id=user_id,
                    request=new.request,
                    place=new.place,
                    destination=self.destinations.stored(user_id, new.request, new.created.job_id),
                    max_attempts=self._settings.max_attempts,
                    limits=self._uploads.limits,
                    preset=preset,
                    batch_id=batch_id,
                    key=key,
                    waiting=new.waiting,
                )
                if insertion is Insertion.OVER_LIMIT:
                    raise self._uploads.too_many()
                if insertion is Insertion.CLOSED:
                    raise BatchClosedError("The batch takes no more jobs; create another one")
                if used and insertion is Insertion.INSERTED:
                    await assets_store.attach(connection, job_id=new.created.job_id, assets=used)
        self._on_change(user_id)
        return insertion is Insertion.INSERTED

    async def explain(self, user_id: str, request: CreateJobRequest) -> Explanation:
        """Return the plan of the job for a source with the declared properties, without creating the job.

        Raises:
            ValidationFailedError: the request declares no size, or the user has no such preset.
            TooManyPixelsError: the source exceeds the pixel limit.
            OutputTooLargeError: a result, or all of them together, exceed the pixel limit.
        """
        applied, _ = await self._apply_preset(user_id, request)
        return plan_of(applied, self._settings)

    async def renew_upload(self, user_id: str, request: CreateJobRequest, created: CreatedJob) -> CreatedJob:
        """Return a stored response of ``create`` with a fresh upload URL, if the job still awaits its source."""
        async with self._database.connection(of_user(user_id)) as connection:
            job = await transitions.find(connection, job_id=created.job_id, user_id=user_id)
            if job is None or job.status != JobStatus.CREATED:
                return without_parts(created)
            if request.auto_start:
                waiting = awaited.waiting_for(request, self._settings, traceparent=None)
                await awaited.renew(connection, job_id=created.job_id, user_id=user_id, waiting=waiting)
        if is_in_parts(request):
            return await self._parts.add_missing(user_id, request, created)
        return created.model_copy(update={"upload": self._uploads.sign(request, created.upload.object_key)})

    # ── Cancel and erase ─────────────────────────────────────────────────────────────────────────

    async def cancel(self, user_id: str, job_id: UUID) -> Job:
        """Cancel the job, even while it is processing. Idempotent.

        Raises:
            NotFoundError: the user has no such job.
            JobAlreadyFinishedError: the job succeeded or failed.
        """
        canceled = await self.cancel_if_unfinished(user_id, job_id)
        job = await self._queries.get(user_id, job_id)
        if not canceled and job.status is not JobStatus.CANCELED:
            ended = ENDED.get(job.status, "ended meanwhile")  # a finished job that was retried since
            raise JobAlreadyFinishedError(f"The job has {ended}; it can't be canceled any more")
        return job

    async def cancel_if_unfinished(self, user_id: str, job_id: UUID) -> bool:
        """Cancel the job unless it has finished or does not exist; return whether it was canceled."""
        async with self._database.connection(of_user(user_id)) as connection, connection.transaction():
            canceled = await transitions.cancel(connection, job_id=job_id, user_id=user_id)
        self._on_change(user_id)
        return canceled

    async def erase(self, user_id: str, job_id: UUID) -> None:
        """Erase the job and its personal data at once; its files are deleted within seconds.

        Raises:
            NotFoundError: the user has no such job.
        """
        async with self._database.connection(of_user(user_id)) as connection, connection.transaction():
            if not await transitions.erase(connection, job_id=job_id, user_id=user_id):
                raise job_not_found()
            await idempotency_store.forget_job(connection, job_id=job_id, user_id=user_id)
        self._on_change(user_id)
