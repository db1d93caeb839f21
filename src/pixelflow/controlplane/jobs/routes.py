"""HTTP routes of jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal
from uuid import UUID

import structlog
from fastapi import APIRouter, Body, Depends, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import WrapValidator

from pixelflow import errors
from pixelflow.contracts.explanation import Explanation
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.responses import CreatedJob, Job, JobPage, StartedJob
from pixelflow.contracts.jobs.states import FINISHED
from pixelflow.controlplane.api import examples
from pixelflow.controlplane.api.auth import COMMON_ERRORS, AuthenticatedRoute, ReadsJobs, WritesJobs
from pixelflow.controlplane.api.middleware import Traceparent
from pixelflow.controlplane.api.problems import documented, validate_body
from pixelflow.controlplane.api.services import Services, ServicesOf
from pixelflow.controlplane.api.waiting import caller_of, wait_in
from pixelflow.controlplane.idempotency.calls import IDEMPOTENCY_ERRORS, IdempotentCallOf
from pixelflow.controlplane.idempotency.store import AnsweredKey
from pixelflow.controlplane.jobs.filters import JobFilters
from pixelflow.controlplane.jobs.query_parameters import METADATA_PARAMETER, job_filters

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=AuthenticatedRoute)

MAX_WAIT_SECONDS = 30
"""Longest wait for the end of a job: proxies close connections without a response after a minute or less."""
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
        errors.ObjectsUnavailableError,
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
        return await services.jobs.create(
            identity.user_id, job, job_id=job_id, traceparent=traceparent, can_be_repeated=call.has_key
        )

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
    responses=documented(
        *COMMON_ERRORS, errors.NotFoundError, errors.TooManyStreamsError, errors.ValidationFailedError
    ),
)
async def get_job(
    identity: ReadsJobs,
    services: ServicesOf,
    request: Request,
    job_id: UUID,
    wait: Annotated[
        float,
        Query(
            ge=0,
            le=MAX_WAIT_SECONDS,
            allow_inf_nan=False,
            description="Seconds to wait for the end of the job. The response comes as soon as the job has finished, "
            "or when the time is over, with the job as it is then.",
            examples=[20],
        ),
    ] = 0,
) -> Job:
    """Return the job, with a fresh download URL for each output. With `wait`, return it when it has finished."""
    if not wait:
        return await services.job_queries.get(identity.user_id, job_id)
    with services.live.waiting(caller_of(request), job_id) as watcher:
        job = await services.job_queries.get(identity.user_id, job_id)
        if job.status in FINISHED:
            return job
        await wait_in(request, services.live.wait_until_finished(watcher, seconds=wait))
    return await services.job_queries.get(identity.user_id, job_id)


@router.head("/{job_id}/outputs/{step_id}", include_in_schema=False)
@router.get(
    "/{job_id}/outputs/{step_id}",
    status_code=307,
    response_class=Response,
    summary="Download an output",
    responses=examples.REDIRECT
    | documented(*COMMON_ERRORS, errors.NotFoundError, errors.OutputMissingError, errors.ObjectsUnavailableError),
)
async def download_output(
    identity: ReadsJobs, services: ServicesOf, request: Request, job_id: UUID, step_id: str
) -> Response:
    """Redirect to the file of an output in object storage. Unlike `download_url`, this URL does not expire.

    `HEAD` redirects to a URL that is signed for `HEAD`. Don't send your API key to the storage.
    """
    method: Literal["GET", "HEAD"] = "HEAD" if request.method == "HEAD" else "GET"
    url = await services.job_queries.output_url(identity.user_id, job_id, step_id, method)
    return Response(status_code=307, headers={"Location": url})


@router.get(
    "",
    summary="List jobs",
    response_model=JobPage,
    responses=documented(*COMMON_ERRORS, errors.ValidationFailedError),
    openapi_extra={"parameters": [METADATA_PARAMETER]},
)
async def list_jobs(
    identity: ReadsJobs,
    services: ServicesOf,
    filters: Annotated[JobFilters, Depends(job_filters)],
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """List your jobs, newest first: those that meet all conditions of the query.

    With several conditions, a page may have fewer jobs than `limit`, even none, although another page follows: continue
    until `next_cursor` is null.
    """
    page = await services.job_queries.list_newest(identity.user_id, filters, limit=limit, cursor=cursor)
    return Response(page, media_type="application/json")
