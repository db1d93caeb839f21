"""Routes of jobs."""

from __future__ import annotations

import re
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Header, Query
from pydantic import BeforeValidator

from pixelflow.contracts import problems
from pixelflow.contracts.job import CreatedJob, CreateJobRequest, Job, JobPage, JobStatus, StartedJob
from pixelflow.controlplane.api import examples
from pixelflow.controlplane.api.auth import IdentityOf
from pixelflow.controlplane.api.problems import documented
from pixelflow.controlplane.api.services import ServicesOf

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_ALWAYS = (problems.UnauthenticatedError, problems.StoreUnavailableError)
"""What every route here may answer with."""
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def _readable_trace(header: str | None) -> str | None:
    """Tracing must never get in the way of a request (W3C Trace Context, section 4.3)."""
    return header if header and _TRACEPARENT.fullmatch(header) else None


@router.post(
    "",
    status_code=202,
    summary="Create a job",
    responses=documented(
        *_ALWAYS,
        problems.MalformedRequestError,
        problems.BodyTooLargeError,
        problems.LocalFilesDisabledError,
        problems.UnsupportedMediaTypeError,
        problems.ValidationFailedError,
    ),
)
async def create_job(
    identity: IdentityOf, services: ServicesOf, job: Annotated[CreateJobRequest, Body(openapi_examples=examples.CREATE)]
) -> CreatedJob:
    """Validate the pipeline and get a URL to upload the source to. Nothing runs before the job is started."""
    return await services.jobs.create(identity.user_id, job)


@router.post(
    "/{job_id}/start",
    status_code=202,
    summary="Start a job",
    responses=documented(
        *_ALWAYS,
        problems.NotFoundError,
        problems.JobAlreadyFinishedError,
        problems.SourceMissingError,
        problems.SourceTooLargeError,
        problems.ObjectsUnavailableError,
    ),
)
async def start_job(
    identity: IdentityOf,
    services: ServicesOf,
    job_id: UUID,
    traceparent: Annotated[
        str | None,
        BeforeValidator(_readable_trace),
        Header(description="W3C Trace Context; what can't be read is ignored."),
    ] = None,
) -> StartedJob:
    """Queue the job, once its source is uploaded. Starting it again while it is on its way changes nothing."""
    return await services.jobs.start(identity.user_id, job_id, traceparent=traceparent)


@router.get(
    "/{job_id}",
    summary="Show a job",
    response_model_exclude_unset=True,
    responses=documented(*_ALWAYS, problems.NotFoundError),
)
async def get_job(identity: IdentityOf, services: ServicesOf, job_id: UUID) -> Job:
    """The job, with a fresh download URL for each output."""
    return await services.jobs.get(identity.user_id, job_id)


@router.get(
    "",
    summary="List jobs",
    response_model_exclude_unset=True,
    responses=documented(*_ALWAYS, problems.ValidationFailedError),
)
async def list_jobs(
    identity: IdentityOf,
    services: ServicesOf,
    status: JobStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> JobPage:
    """Your jobs, newest first."""
    return await services.jobs.list_newest(identity.user_id, status=status, limit=limit, cursor=cursor)
