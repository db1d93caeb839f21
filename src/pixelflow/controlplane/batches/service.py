"""Use cases that change batches: create, add jobs, close, cancel, delete.

Each request does a bounded amount of work, one job after another, so that it holds neither a long transaction nor more
than one connection. A request that is interrupted is completed by the same request: the IDs of jobs are derived from
what they are made of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from uuid import UUID, uuid5

from pydantic import ValidationError

from pixelflow.adapters.fair_semaphore import FairSemaphore
from pixelflow.adapters.postgres.database import AsyncDatabase, of_user
from pixelflow.contracts.batches import (
    MAX_JOBS,
    AddedJobs,
    AddJobsRequest,
    Batch,
    BatchSource,
    CreateBatchRequest,
    CreatedBatch,
    RefusedSource,
    Rerun,
)
from pixelflow.contracts.field_errors import field_errors, validation_failed
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.sources import DeclaredSource
from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.contracts.preset_templates import Scalar
from pixelflow.contracts.presets import parse_reference
from pixelflow.controlplane.batches import store
from pixelflow.controlplane.batches.queries import BatchQueries, batch_not_found
from pixelflow.controlplane.batches.store import BatchRow
from pixelflow.controlplane.jobs.filters import JobFilters
from pixelflow.controlplane.jobs.pages import decode_cursor, encode_cursor, find_page
from pixelflow.controlplane.jobs.service import JobService
from pixelflow.controlplane.jobs.store import JobRow
from pixelflow.controlplane.presets import service as presets
from pixelflow.controlplane.presets.service import AppliedPreset
from pixelflow.errors import (
    BatchCanceledError,
    BatchClosedError,
    FieldError,
    RequestError,
)

_MAX_REQUESTS = 4
"""Requests that make jobs at the same time, one of each user."""
_RERUN_JOBS = 100
"""Earlier jobs that one request processes again."""
_CANCELED_JOBS = 250
"""Jobs that one request cancels."""


class BatchService(BatchQueries):
    """Changes the batches of one user. ``user_id`` comes from the authenticated credentials."""

    def __init__(self, database: AsyncDatabase, jobs: JobService) -> None:
        super().__init__(database)
        self._jobs = jobs
        self._requests = FairSemaphore(_MAX_REQUESTS, share=1)

    async def create(
        self, user_id: str, request: CreateBatchRequest, *, batch_id: UUID, traceparent: str | None
    ) -> CreatedBatch:
        """Create a batch, and a job for each of its sources. Idempotent by ``batch_id``.

        Raises:
            ValidationFailedError: the user has no such preset, or can't use the parameters or the destination.
        """
        self._jobs.destinations.check(user_id, request.destination)
        job = request.job
        async with self._database.connection(of_user(user_id)) as connection:
            if request.preset is not None:
                preset = await presets.find_for_job(connection, user_id, request.preset)
                job["preset"] = f"{preset.name}@{preset.version}"
                if request.sources:  # earlier jobs can have parameters that the batch lacks
                    presets.fill_in(preset, request.parameters)
            await store.insert(connection, batch_id=batch_id, user_id=user_id, name=request.name, job=job)
        row = await self._find(user_id, batch_id)
        added = await self._add_sources(user_id, row, request.sources, traceparent) if request.sources else None
        if request.close:
            await self._close(user_id, batch_id)
        batch = await self.get(user_id, batch_id)
        return CreatedBatch(**dict(batch), refused=added.refused if added else [])

    async def add(self, user_id: str, batch_id: UUID, request: AddJobsRequest, *, traceparent: str | None) -> AddedJobs:
        """Create and start a job for each source, or for each earlier job of a page. Idempotent, also after closing.

        Raises:
            NotFoundError: the user has no such batch.
            BatchCanceledError: it was canceled.
            BatchClosedError: it was closed, and no source is one of its jobs.
            ValidationFailedError: the batch would have too many jobs, or the cursor is not valid.
        """
        row = await self._find(user_id, batch_id)
        if row.canceled_at is not None:
            raise _canceled()
        if request.rerun is not None:
            added = await self._rerun(user_id, row, request.rerun, traceparent)
        else:
            added = await self._add_sources(user_id, row, request.sources, traceparent)
        if not added.accepted and any(refused.code == BatchClosedError.code for refused in added.refused):
            raise _closed()
        if request.close and added.next_cursor is None:
            await self._close(user_id, batch_id)
        return added

    async def close(self, user_id: str, batch_id: UUID) -> Batch:
        """Let the batch take no more jobs: it finishes when all of its jobs have ended. Idempotent.

        Raises:
            NotFoundError: the user has no such batch.
        """
        await self._close(user_id, batch_id)
        return await self.get(user_id, batch_id)

    async def _close(self, user_id: str, batch_id: UUID) -> None:
        async with self._database.connection(of_user(user_id)) as connection:
            await store.close(connection, batch_id=batch_id, user_id=user_id)

    async def cancel(self, user_id: str, batch_id: UUID) -> Batch:
        """Let the batch take no more jobs, and cancel up to 250 of its unfinished jobs. Repeat it for the others.

        Raises:
            NotFoundError: the user has no such batch.
        """
        async with self._database.connection(of_user(user_id)) as connection:
            if not await store.set_canceled(connection, batch_id=batch_id, user_id=user_id):
                raise batch_not_found()
        async with self._requests.place(user_id):
            async with self._database.connection(of_user(user_id)) as connection:
                job_ids = await store.list_unfinished(
                    connection, batch_id=batch_id, user_id=user_id, limit=_CANCELED_JOBS
                )
            for job_id in job_ids:
                await self._jobs.cancel_if_unfinished(user_id, job_id)
        return await self.get(user_id, batch_id)

    async def delete(self, user_id: str, batch_id: UUID) -> None:
        """Delete the batch: its name, what its jobs have in common, and its events. The jobs stay.

        Raises:
            NotFoundError: the user has no such batch.
        """
        async with self._database.connection(of_user(user_id)) as connection:
            if not await store.delete(connection, batch_id=batch_id, user_id=user_id):
                raise batch_not_found()

    async def _find(self, user_id: str, batch_id: UUID) -> BatchRow:
        async with self._database.connection(of_user(user_id)) as connection:
            row = await store.find(connection, batch_id=batch_id, user_id=user_id)
        if row is None:
            raise batch_not_found()
        return row

    # ── Jobs ─────────────────────────────────────────────────────────────────────────────────────

    async def _add_sources(
        self, user_id: str, row: BatchRow, sources: Sequence[BatchSource], traceparent: str | None
    ) -> AddedJobs:
        refused = []
        keys = [entry.model_dump_json(exclude_unset=True) for entry in sources]
        async with self._requests.place(user_id):
            maker = await self._maker(user_id, row, keys, traceparent)
            for index, (entry, key) in enumerate(zip(sources, keys, strict=True)):
                if (error := await maker.make(entry.source, entry.metadata, {}, key=key)) is not None:
                    refused.append(_refused(error, index=index))
        return AddedJobs(batch_id=row.batch_id, accepted=len(sources) - len(refused), refused=refused)

    async def _rerun(self, user_id: str, row: BatchRow, rerun: Rerun, traceparent: str | None) -> AddedJobs:
        """Make a job of each earlier job of one page, with its source, its metadata and its parameters."""
        filters = JobFilters(JobStatus.SUCCEEDED, created_before=row.created_at, preset=parse_reference(rerun.preset))
        before = decode_cursor(rerun.cursor, "/rerun/cursor")
        refused = []
        async with self._requests.place(user_id):
            async with self._database.connection(of_user(user_id)) as connection:
                jobs, last = await find_page(connection, user_id, filters, limit=_RERUN_JOBS, before=before)
            keys = [_content(job) for job in jobs]
            maker = await self._maker(user_id, row, keys, traceparent)
            for job, key in zip(jobs, keys, strict=True):
                source = DeclaredSource(job=job.job_id, **job.source_options)
                metadata = job.metadata | row.job.get("metadata", {})
                error = await maker.make(source, metadata, job.preset_parameters, key=key)
                if error is not None:
                    refused.append(_refused(error, job_id=job.job_id))
        accepted = len(jobs) - len(refused)
        return AddedJobs(batch_id=row.batch_id, accepted=accepted, refused=refused, next_cursor=encode_cursor(last))

    async def _maker(self, user_id: str, row: BatchRow, keys: Sequence[str], traceparent: str | None) -> _JobMaker:
        """Return what makes the jobs of the batch that have these keys.

        Raises:
            ValidationFailedError: the batch would have too many jobs.
        """
        async with self._database.connection(of_user(user_id)) as connection:
            counts = await store.count_jobs(connection, batch_id=row.batch_id, user_id=user_id)
            total = sum(counts.values()) + len(keys)
            if total > MAX_JOBS:  # of a repeated request, some are in the batch
                job_ids = {_job_id(row.batch_id, key) for key in keys}
                new = await store.list_new(connection, batch_id=row.batch_id, user_id=user_id, job_ids=job_ids)
                total -= len(keys) - len(new)
        if total > MAX_JOBS:
            full = FieldError(pointer="", message=f"would give the batch more than {MAX_JOBS} jobs; create another one")
            raise validation_failed([full])
        return _JobMaker(self._database, self._jobs, user_id, row, traceparent)


class _JobMaker:
    """Makes jobs of one batch, within one request."""

    def __init__(
        self, database: AsyncDatabase, jobs: JobService, user_id: str, row: BatchRow, traceparent: str | None
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._user_id = user_id
        self._batch_id = row.batch_id
        self._template = CreateBatchRequest.model_validate(row.job)
        self._traceparent = traceparent
        self._applied: dict[str, tuple[CreateJobRequest, AppliedPreset]] = {}
        self._names: frozenset[str] | None = None
        """Of the parameters of the preset."""

    async def make(
        self, source: DeclaredSource, metadata: Mapping[str, str], parameters: Mapping[str, Scalar], *, key: str
    ) -> RequestError | None:
        """Create and start the job of a source; return why the source is refused, if it is.

        ``parameters`` are those of an earlier job: the batch's own take precedence, and those that its preset does not
        have are left out. ``key`` identifies the job within the batch.
        """
        job_id = _job_id(self._batch_id, key)
        fields = self._template.job_fields(source, metadata)
        try:
            request, preset = await self._apply(CreateJobRequest.model_validate(fields), parameters)
            await self._jobs.create_started(
                self._user_id,
                request,
                preset,
                job_id=job_id,
                batch_id=self._batch_id,
                traceparent=self._traceparent,
            )
        except ValidationError as error:
            rows = error.errors(include_url=False, include_input=False)
            return validation_failed(field_errors(rows, fields, CreateJobRequest))
        except BatchClosedError:
            return await self._why_closed()
        except RequestError as error:
            return error
        return None

    async def _why_closed(self) -> RequestError:
        async with self._database.connection(of_user(self._user_id)) as connection:
            row = await store.find(connection, batch_id=self._batch_id, user_id=self._user_id)
        if row is None:
            return batch_not_found()
        return _canceled() if row.canceled_at is not None else _closed()

    async def _apply(
        self, request: CreateJobRequest, earlier: Mapping[str, Scalar]
    ) -> tuple[CreateJobRequest, AppliedPreset]:
        reference = request.preset
        if reference is None:
            return request, AppliedPreset()
        async with self._database.connection(of_user(self._user_id)) as connection:
            if self._names is None:
                row = await presets.find_for_job(connection, self._user_id, reference)
                self._names = frozenset(row.parameters)
            known = {name: value for name, value in earlier.items() if name in self._names}
            values = known | dict(self._template.parameters)
            request = request.model_copy(update={"parameters": values})
            variant = json.dumps(values, sort_keys=True)
            if variant not in self._applied:
                self._applied[variant] = await presets.apply(connection, self._user_id, request, reference)
        pipeline, preset = self._applied[variant]
        return request.model_copy(update={"pipeline": pipeline.pipeline}), preset


def _job_id(batch_id: UUID, key: str) -> UUID:
    return uuid5(batch_id, key)


def _content(job: JobRow) -> str:
    """What distinguishes an earlier job from others whose repetition would be the same.

    Without a bucket it is what releases before buckets made of the job, so that a rerun continues after an upgrade.
    """
    bucket = [] if job.source_bucket is None else [job.source_bucket]
    return json.dumps(
        [*bucket, job.source_key, job.source_url, job.source_options, job.metadata, job.preset_parameters],
        sort_keys=True,
    )


def _refused(error: RequestError, *, index: int | None = None, job_id: UUID | None = None) -> RefusedSource:
    return RefusedSource(index=index, job_id=job_id, code=error.code, detail=error.detail)


def _canceled() -> BatchCanceledError:
    return BatchCanceledError("The batch was canceled and takes no more jobs; create another one")


def _closed() -> BatchClosedError:
    return BatchClosedError("The batch is closed and takes no more jobs; create another one for new sources")
