"""HTTP routes of jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

import structlog
from fastapi import APIRouter, Body, Depends, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import WrapValidator

from pixelflow import errors
from pixelflow.contracts.explanation import Explanation
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.responses import CreatedJob, Job, JobPage, StartedJob
from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.controlplane.api import examples
from pixelflow.controlplane.api.auth import COMMON_ERRORS, AuthenticatedRoute, ReadsJobs, WritesJobs
from pixelflow.controlplane.api.middleware import Traceparent
from pixelflow.controlplane.api.problems import documented, validate_body
from pixelflow.controlplane.api.services import Services, ServicesOf
from pixelflow.controlplane.idempotency.calls import IDEMPOTENCY_ERRORS, IdempotentCallOf
from pixelflow.controlplane.idempotency.store import AnsweredKey

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=AuthenticatedRoute)

_EVERY_POST = (*COMMON_ERRORS, *IDEMPOTENCY_ERRORS)


_DRY_RUN: dict[int | str, dict[str, Any]] = {
    200: {"model": Explanation, "description": "The plan of the job, for `dry_run`"}
}


# The annotation documents the body; the dependency validates it, because FastAPI can't pass a validation context.
_RawJobRequest = Annotated[
    CreateJobRequest, WrapValidator(lambda value, _: value), Body(openapi_examples=examples.CREATE)
]


async def _job_request(request: Request, body: _RawJobRequest) -> CreateJobRequest:
    services: Services = request.state.services
    return validate_body(CreateJobRequest, body, context=services.jobs.request_limits)


@router.post(
    "",
    status_code=202,
    response_model=CreatedJob,
    summary="Create a job",
    response_description="The created job",
    responses=_DRY_RUN
    | documented(
        *_EVERY_POST,
        errors.MalformedRequestError,
        errors.OutputTooLargeError,
        errors.StepFailedError,
        errors.TooManyPixelsError,
        errors.BodyTooLargeError,
        errors.JobNotFinishedError,
        errors.LocalFilesDisabledError,
        errors.NotFoundError,
        errors.OutputMissingError,
        errors.SourceMissingError,
        errors.UnsupportedCapabilityError,
        errors.TooManyUploadsError,
        errors.UnsupportedMediaTypeError,
        errors.UrlSourcesDisabledError,
        errors.ValidationFailedError,
    ),
)
async def create_job(
    identity: WritesJobs,
    services: ServicesOf,
    call: IdempotentCallOf,
    job: Annotated[CreateJobRequest, Depends(_job_request)],
    traceparent: Traceparent,
    *,
    dry_run: Annotated[
        bool, Query(description="Return the plan of the job, for a source of the declared size, and create nothing.")
    ] = False,
) -> CreatedJob | JSONResponse:
    """Validate the pipeline and return a URL to upload the source to.

    The job runs after you start it or, with `auto_start`, when its source is there.
    """
    if dry_run:
        return JSONResponse((await services.jobs.explain(identity.user_id, job)).model_dump(mode="json"))
    services.jobs.check(identity.user_id, job)

    async def create(job_id: UUID) -> CreatedJob:
        structlog.contextvars.bind_contextvars(job_id=str(job_id))
        return await services.jobs.create(identity.user_id, job, job_id=job_id, traceparent=traceparent)

    async def create_with_key(job_id: UUID, answer: Callable[[CreatedJob], AnsweredKey]) -> CreatedJob | None:
        structlog.contextvars.bind_contextvars(job_id=str(job_id))
        return await services.jobs.create_with_key(
            identity.user_id, job, job_id=job_id, answer=answer, traceparent=traceparent
        )

    async def renew(created: CreatedJob) -> CreatedJob:
        structlog.contextvars.bind_contextvars(job_id=str(created.job_id))
        return await services.jobs.renew_upload(identity.user_id, job, created)

    return await call.create_job(identity, create, create_with_key, renew=renew)


@router.post(
    "/{job_id}/start",
    status_code=202,
    summary="Start a job",
    responses=documented(
        *_EVERY_POST,
        errors.NotFoundError,
        errors.JobAlreadyFinishedError,
        errors.SourceMissingError,
        errors.SourceTooLargeError,
        errors.ObjectsUnavailableError,
    ),
)
async def start_job(
    identity: WritesJobs,
    services: ServicesOf,
    call: IdempotentCallOf,
    job_id: UUID,
    traceparent: Traceparent,
) -> StartedJob:
    """Queue the job after you uploaded its source. Starting a queued or processing job again has no effect."""

    async def start(_: UUID) -> StartedJob:
        return await services.jobs.start(identity.user_id, job_id, traceparent=traceparent)

    return await call.run(identity, StartedJob, start, job_id=job_id)


@router.post(
    "/{job_id}/retry",
    status_code=202,
    summary="Retry a job",
    responses=documented(
        *_EVERY_POST,
        errors.NotFoundError,
        errors.JobAlreadyFinishedError,
        errors.JobNotFinishedError,
        errors.SourceMissingError,
        errors.SourceTooLargeError,
        errors.ValidationFailedError,
        errors.ObjectsUnavailableError,
    ),
)
async def retry_job(
    identity: WritesJobs, services: ServicesOf, call: IdempotentCallOf, job_id: UUID, traceparent: Traceparent
) -> StartedJob:
    """Start a new run of a failed or canceled job. The count of attempts starts again at zero."""

    async def retry(_: UUID) -> StartedJob:
        return await services.jobs.retry(identity.user_id, job_id, traceparent=traceparent)

    return await call.run(identity, StartedJob, retry, job_id=job_id)


@router.post(
    "/{job_id}/cancel",
    summary="Cancel a job",
    response_model_exclude_unset=True,
    responses=documented(*_EVERY_POST, errors.NotFoundError, errors.JobAlreadyFinishedError),
)
async def cancel_job(identity: WritesJobs, services: ServicesOf, call: IdempotentCallOf, job_id: UUID) -> Job:
    """Cancel a job that has not finished, even while it is processing. Canceling it again has no effect."""

    async def cancel(_: UUID) -> Job:
        return await services.jobs.cancel(identity.user_id, job_id)

    return await call.run(identity, Job, cancel, job_id=job_id)


@router.delete(
    "/{job_id}",
    status_code=204,
    summary="Erase a job",
    responses=documented(*COMMON_ERRORS, errors.NotFoundError),
)
async def erase_job(identity: WritesJobs, services: ServicesOf, job_id: UUID) -> None:
    """Erase the source, the outputs of all attempts and the personal data of the job. Its usage records remain.

    The job disappears immediately; its files are deleted within seconds.
    """
    await services.jobs.erase(identity.user_id, job_id)


@router.get(
    "/{job_id}",
    summary="Show a job",
    response_model_exclude_unset=True,
    responses=documented(*COMMON_ERRORS, errors.NotFoundError),
)
async def get_job(identity: ReadsJobs, services: ServicesOf, job_id: UUID) -> Job:
    """Return the job, with a fresh download URL for each output."""
    return await services.job_queries.get(identity.user_id, job_id)


@router.get(
    "",
    summary="List jobs",
    response_model=JobPage,
    responses=documented(*COMMON_ERRORS, errors.ValidationFailedError),
)
async def list_jobs(
    identity: ReadsJobs,
    services: ServicesOf,
    status: JobStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """List your jobs, newest first."""
    page = await services.job_queries.list_newest(identity.user_id, status=status, limit=limit, cursor=cursor)
    return Response(page, media_type="application/json")
