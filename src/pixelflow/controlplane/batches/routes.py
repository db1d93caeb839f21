"""HTTP routes of batches."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Query, Request
from pydantic import WrapValidator

from pixelflow import errors
from pixelflow.contracts.batches import AddedJobs, AddJobsRequest, Batch, BatchPage, CreateBatchRequest, CreatedBatch
from pixelflow.controlplane.api import batch_examples as examples
from pixelflow.controlplane.api.auth import COMMON_ERRORS, AuthenticatedRoute, ReadsJobs, WritesJobs
from pixelflow.controlplane.api.middleware import Traceparent
from pixelflow.controlplane.api.problems import documented, validate_body
from pixelflow.controlplane.api.services import Services, ServicesOf
from pixelflow.controlplane.idempotency.calls import IDEMPOTENCY_ERRORS, IdempotentCallOf

router = APIRouter(
    prefix="/v1/batches", tags=["batches"], route_class=AuthenticatedRoute, responses=documented(*COMMON_ERRORS)
)
_BODY_ERRORS = (
    errors.MalformedRequestError,
    errors.BodyTooLargeError,
    errors.UnsupportedMediaTypeError,
    errors.ValidationFailedError,
    errors.ObjectsUnavailableError,
)

# The annotations document the bodies; the dependencies validate them, because FastAPI can't pass a validation context.
_RawBatchRequest = Annotated[
    CreateBatchRequest, WrapValidator(lambda value, _: value), Body(openapi_examples=examples.CREATE_BATCH)
]
_RawAddRequest = Annotated[
    AddJobsRequest, WrapValidator(lambda value, _: value), Body(openapi_examples=examples.ADD_JOBS)
]


async def _batch_request(request: Request, body: _RawBatchRequest) -> CreateBatchRequest:
    services: Services = request.state.services
    return validate_body(CreateBatchRequest, body, context=services.jobs.request_limits)


async def _add_request(request: Request, body: _RawAddRequest) -> AddJobsRequest:
    services: Services = request.state.services
    return validate_body(AddJobsRequest, body, context=services.jobs.request_limits)


@router.post(
    "",
    status_code=201,
    summary="Create a batch",
    responses=documented(*COMMON_ERRORS, *IDEMPOTENCY_ERRORS, *_BODY_ERRORS, errors.NotFoundError),
)
async def create_batch(
    identity: WritesJobs,
    services: ServicesOf,
    call: IdempotentCallOf,
    batch: Annotated[CreateBatchRequest, Depends(_batch_request)],
    traceparent: Traceparent,
) -> CreatedBatch:
    """Create a batch: what many jobs have in common. Each source becomes a job, which is started.

    When no more sources follow, close it, with `close` or `POST /v1/batches/{id}/close`. You get the event
    `batch.finished` when all of its jobs have ended.

    With an `Idempotency-Key`, the same request completes one that was interrupted. To add more sources, or the sources
    of earlier jobs, use `POST /v1/batches/{id}/jobs`.
    """

    async def create(batch_id: UUID) -> CreatedBatch:
        return await services.batches.create(identity.user_id, batch, batch_id=batch_id, traceparent=traceparent)

    return await call.run(identity, CreatedBatch, create)


@router.post(
    "/{batch_id}/jobs",
    summary="Add jobs to a batch",
    responses=documented(
        *COMMON_ERRORS,
        *IDEMPOTENCY_ERRORS,
        *_BODY_ERRORS,
        errors.NotFoundError,
        errors.BatchCanceledError,
        errors.BatchClosedError,
    ),
)
async def add_jobs(
    identity: WritesJobs,
    services: ServicesOf,
    call: IdempotentCallOf,
    batch_id: UUID,
    *,
    jobs: Annotated[AddJobsRequest, Depends(_add_request)],
    traceparent: Traceparent,
) -> AddedJobs:
    """Create and start a job for each source; or, with `rerun`, for up to 100 earlier jobs of a preset, newest first.

    A source that can't be processed is in `refused`; it does not stop the others. Sending a source again has no effect.
    """

    async def add(_: UUID) -> AddedJobs:
        return await services.batches.add(identity.user_id, batch_id, jobs, traceparent=traceparent)

    return await call.run(identity, AddedJobs, add)


@router.get("", summary="List batches", responses=documented(errors.ValidationFailedError))
async def list_batches(
    identity: ReadsJobs,
    services: ServicesOf,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> BatchPage:
    """List your batches, newest first."""
    return await services.batches.list_newest(identity.user_id, limit=limit, cursor=cursor)


@router.get("/{batch_id}", summary="Show a batch", responses=documented(errors.NotFoundError))
async def get_batch(identity: ReadsJobs, services: ServicesOf, batch_id: UUID) -> Batch:
    """Return the batch and its progress. `GET /v1/jobs?batch=` lists its jobs."""
    return await services.batches.get(identity.user_id, batch_id)


@router.post(
    "/{batch_id}/close",
    summary="Close a batch",
    responses=documented(*IDEMPOTENCY_ERRORS, errors.NotFoundError),
)
async def close_batch(identity: WritesJobs, services: ServicesOf, call: IdempotentCallOf, batch_id: UUID) -> Batch:
    """Let the batch take no more jobs. It finishes when all of its jobs have ended, also if it has none."""

    async def close(_: UUID) -> Batch:
        return await services.batches.close(identity.user_id, batch_id)

    return await call.run(identity, Batch, close)


@router.post(
    "/{batch_id}/cancel",
    summary="Cancel a batch",
    responses=documented(*IDEMPOTENCY_ERRORS, errors.NotFoundError),
)
async def cancel_batch(identity: WritesJobs, services: ServicesOf, call: IdempotentCallOf, batch_id: UUID) -> Batch:
    """Let the batch take no more jobs, and cancel up to 250 of its unfinished jobs.

    Repeat the request, without an `Idempotency-Key` or with another one, until all jobs are finished.
    """

    async def cancel(_: UUID) -> Batch:
        return await services.batches.cancel(identity.user_id, batch_id)

    return await call.run(identity, Batch, cancel)


@router.delete("/{batch_id}", status_code=204, summary="Delete a batch", responses=documented(errors.NotFoundError))
async def delete_batch(identity: WritesJobs, services: ServicesOf, batch_id: UUID) -> None:
    """Delete the batch: its name, and what its jobs have in common. The jobs stay; erase them one by one."""
    await services.batches.delete(identity.user_id, batch_id)
