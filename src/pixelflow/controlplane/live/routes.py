"""HTTP routes of the event streams (text/event-stream: WHATWG HTML, section 9.2)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Request

from pixelflow import errors
from pixelflow.contracts.field_errors import validation_failed
from pixelflow.contracts.jobs.events import JobEvent
from pixelflow.controlplane.api.auth import COMMON_ERRORS, AuthenticatedRoute, ReadsJobs
from pixelflow.controlplane.api.problems import documented
from pixelflow.controlplane.api.services import ServicesOf
from pixelflow.controlplane.api.waiting import Chunks, EventStream, caller_of
from pixelflow.controlplane.live.service import StreamItem
from pixelflow.errors import FieldError, UnauthenticatedError

RETRY_MILLISECONDS = 1000
"""After which a client connects again if the stream ends."""

router = APIRouter(
    prefix="/v1",
    tags=["jobs"],
    route_class=AuthenticatedRoute,
    responses=documented(*COMMON_ERRORS, errors.TooManyStreamsError, errors.ValidationFailedError),
)

_EVENT_ID = re.compile(r"[0-9]{1,20}", re.ASCII)
LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        description="The last `id` that you received. The stream continues after it.",
        examples=["7421"],
    ),
]
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "model": JobEvent,
        "description": "Events. The schema is that of the `data` of each",
    }
}
_NOTHING_NEW: dict[int | str, dict[str, Any]] = {
    204: {"description": "The job has finished, and you have received its last event: don't connect again"}
}


@router.get("/events", status_code=200, summary="Watch all jobs", response_class=EventStream, responses=_STREAM)
async def watch_jobs(
    _: ReadsJobs, services: ServicesOf, request: Request, last_event_id: LastEventId = None
) -> EventStream:
    """Stream the changes of all your jobs.

    Without `Last-Event-ID`, the stream begins with the newest 200 jobs that are queued or processing. Changes of others
    follow as they happen; `GET /v1/jobs?status=queued` and `status=processing` list them.
    """
    seen = _number(last_event_id)

    @asynccontextmanager
    async def stream() -> AsyncIterator[Chunks | None]:
        async with services.live.user_stream(caller_of(request), seen) as items:
            yield _chunks(items)

    return EventStream(stream, open_seconds=services.request_seconds)


@router.get(
    "/jobs/{job_id}/events",
    status_code=200,
    summary="Watch a job",
    response_class=EventStream,
    responses=_STREAM | _NOTHING_NEW | documented(errors.NotFoundError),
)
async def watch_job(
    _: ReadsJobs, services: ServicesOf, request: Request, job_id: UUID, last_event_id: LastEventId = None
) -> EventStream:
    """Stream the changes of a job, first its present state. The stream ends after the event of a finished job."""
    seen = _number(last_event_id)

    @asynccontextmanager
    async def stream() -> AsyncIterator[Chunks | None]:
        async with services.live.job_stream(caller_of(request), job_id, seen) as items:
            yield None if items is None else _chunks(items)

    return EventStream(stream, open_seconds=services.request_seconds)


def _number(event_id: str | None) -> int | None:
    if event_id is None:
        return None
    if not _EVENT_ID.fullmatch(event_id):
        invalid = FieldError(pointer="/header/Last-Event-ID", message="must be the `id` of an event that you received")
        raise validation_failed([invalid])
    return int(event_id)


async def _chunks(items: AsyncIterator[StreamItem]) -> Chunks:
    yield b"retry: %d\n\n" % RETRY_MILLISECONDS
    try:
        async for item in items:
            yield _chunk(item.event, item.event_id)
    except UnauthenticatedError:
        yield b": the credential is no longer valid\n\n"


def _chunk(event: JobEvent | None, event_id: str | None) -> bytes:
    lines = [] if event_id is None else [f"id: {event_id}"]
    if event is None:
        lines.insert(0, ": heartbeat")
    else:
        lines += [f"event: {event.type}", f"data: {event.model_dump_json()}"]
    return "".join(f"{line}\n" for line in [*lines, ""]).encode()
