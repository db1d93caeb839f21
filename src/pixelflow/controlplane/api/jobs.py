"""Routes of jobs."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import structlog
from fastapi import APIRouter, Body, Query

from pixelflow.contracts import problems
from pixelflow.contracts.job import CreatedJob, CreateJobRequest, Job, JobPage, JobStatus, StartedJob
from pixelflow.controlplane.api import examples
from pixelflow.controlplane.api.admission import DOOR_PROBLEMS, AdmittingRoute
from pixelflow.controlplane.api.auth import ReadsJobs, WritesJobs
from pixelflow.controlplane.api.idempotency import IDEMPOTENCY_PROBLEMS, OnceOf
from pixelflow.controlplane.api.problems import documented
from pixelflow.controlplane.api.services import ServicesOf
from pixelflow.controlplane.api.traced import Traceparent

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=AdmittingRoute)

_EVERY_POST = (*DOOR_PROBLEMS, *IDEMPOTENCY_PROBLEMS)


@router.post(
    "",
    status_code=202,
    summary="Create a job",
    responses=documented(
        *_EVERY_POST,
        problems.MalformedRequestError,
        problems.BodyTooLargeError,
        problems.LocalFilesDisabledError,
        problems.NotFoundError,
        problems.UnsupportedMediaTypeError,
        problems.ValidationFailedError,
    ),
)
async def create_job(
    identity: WritesJobs,
    services: ServicesOf,
    once: OnceOf,
    job: Annotated[CreateJobRequest, Body(openapi_examples=examples.CREATE)],
) -> CreatedJob:
    """Validate the pipeline and get a URL to upload the source to. Nothing runs before the job is started."""

    async def create(job_id: UUID) -> CreatedJob:
        structlog.contextvars.bind_contextvars(job_id=str(job_id))
        return await services.jobs.create(identity.user_id, job, job_id=job_id)

    async def renew(created: CreatedJob) -> CreatedJob:
        structlog.contextvars.bind_contextvars(job_id=str(created.job_id))
        return await services.jobs.renew_upload(identity.user_id, job, created)

    return await once.answer(identity, CreatedJob, create, creates_job=True, renew=renew)


@router.post(
    "/{job_id}/start",
    status_code=202,
    summary="Start a job",
    responses=documented(
        *_EVERY_POST,
        problems.NotFoundError,
        problems.JobAlreadyFinishedError,
        problems.SourceMissingError,
        problems.SourceTooLargeError,
        problems.ObjectsUnavailableError,
    ),
)
async def start_job(
    identity: WritesJobs,
    services: ServicesOf,
    once: OnceOf,
    job_id: UUID,
    traceparent: Traceparent,
) -> StartedJob:
    """Queue the job, once its source is uploaded. Starting it again while it is on its way changes nothing."""

    async def start(_: UUID) -> StartedJob:
        return await services.jobs.start(identity.user_id, job_id, traceparent=traceparent)

    return await once.answer(identity, StartedJob, start, job_id=job_id)


@router.post(
    "/{job_id}/retry",
    status_code=202,
    summary="Retry a job",
    responses=documented(
        *_EVERY_POST,
        problems.NotFoundError,
        problems.JobAlreadyFinishedError,
        problems.JobNotFinishedError,
        problems.SourceMissingError,
        problems.SourceTooLargeError,
        problems.ValidationFailedError,
        problems.ObjectsUnavailableError,
    ),
)
async def retry_job(
    identity: WritesJobs, services: ServicesOf, once: OnceOf, job_id: UUID, traceparent: Traceparent
) -> StartedJob:
    """Begin a new run of a failed or canceled job, with its attempts counted anew."""

    async def retry(_: UUID) -> StartedJob:
        return await services.jobs.retry(identity.user_id, job_id, traceparent=traceparent)

    return await once.answer(identity, StartedJob, retry, job_id=job_id)


@router.post(
    "/{job_id}/cancel",
    summary="Cancel a job",
    response_model_exclude_unset=True,
    responses=documented(*_EVERY_POST, problems.NotFoundError, problems.JobAlreadyFinishedError),
)
async def cancel_job(identity: WritesJobs, services: ServicesOf, once: OnceOf, job_id: UUID) -> Job:
    """End a job, also while it is being transformed. Canceling it again changes nothing."""

    async def cancel(_: UUID) -> Job:
        return await services.jobs.cancel(identity.user_id, job_id)

    return await once.answer(identity, Job, cancel, job_id=job_id)


@router.delete(
    "/{job_id}",
    status_code=204,
    summary="Erase a job",
    responses=documented(*DOOR_PROBLEMS, problems.NotFoundError),
)
async def erase_job(identity: WritesJobs, services: ServicesOf, job_id: UUID) -> None:
    """Erase the source, the outputs of all attempts and what is personal in the job; what it was billed by stays.

    The job is gone at once, its files within seconds.
    """
    await services.jobs.erase(identity.user_id, job_id)


@router.get(
    "/{job_id}",
    summary="Show a job",
    response_model_exclude_unset=True,
    responses=documented(*DOOR_PROBLEMS, problems.NotFoundError),
)
async def get_job(identity: ReadsJobs, services: ServicesOf, job_id: UUID) -> Job:
    """The job, with a fresh download URL for each output."""
    return await services.shown_jobs.get(identity.user_id, job_id)


@router.get(
    "",
    summary="List jobs",
    response_model_exclude_unset=True,
    responses=documented(*DOOR_PROBLEMS, problems.ValidationFailedError),
)
async def list_jobs(
    identity: ReadsJobs,
    services: ServicesOf,
    status: JobStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> JobPage:
    """Your jobs, newest first."""
    return await services.shown_jobs.list_newest(identity.user_id, status=status, limit=limit, cursor=cursor)
