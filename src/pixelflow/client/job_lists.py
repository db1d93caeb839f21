"""Lists of jobs, shared by both clients. Does no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from pixelflow.client.api_calls import get
from pixelflow.client.models import Operation, Paginator
from pixelflow.client.pagination import pages
from pixelflow.client.session import Session
from pixelflow.contracts.jobs.responses import Job, JobPage
from pixelflow.contracts.jobs.states import JobStatus


def list_jobs(
    session: Session,
    *,
    status: JobStatus | str | None = None,
    metadata: Mapping[str, str] | None = None,
    preset: str | None = None,
    batch_id: UUID | str | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Operation[JobPage]:
    """Return one page of jobs, newest first: those that meet all conditions.

    With several conditions, a page may have fewer jobs than ``limit``, even none, although another page follows.

    Args:
        session: of the client.
        status: of the job.
        metadata: values that the metadata of the job has, among others.
        preset: name of a preset, such as ``avatar``, or a version of it, such as ``avatar@3``.
        batch_id: ID of the batch that created the job.
        created_after: with a time zone; inclusive.
        created_before: with a time zone; exclusive.
        limit: jobs per page, at most 100. Default: 20.
        cursor: ``next_cursor`` of the page before.

    Raises:
        ApiError: the API rejected the request.
        ConnectionFailedError: no response.
    """
    query: dict[str, object] = {f"metadata.{name}": value for name, value in (metadata or {}).items()}
    query |= {
        "status": None if status is None else _status(status),
        "preset": preset,
        "batch": batch_id,
        "limit": limit,
        "cursor": cursor,
    }
    query |= {
        "created_after": created_after and created_after.isoformat(),
        "created_before": created_before and created_before.isoformat(),
    }
    return (yield from get(session, "/v1/jobs", JobPage, query=query))


def iter_jobs(
    session: Session,
    *,
    status: JobStatus | str | None = None,
    metadata: Mapping[str, str] | None = None,
    preset: str | None = None,
    batch_id: UUID | str | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    page_size: int | None = None,
) -> Paginator[Job]:
    """Iterate over all jobs that meet the conditions of ``list_jobs``, newest first. Pages are fetched on demand.

    Raises:
        ApiError: the API rejected the request.
        ConnectionFailedError: no response.
    """
    return pages(
        lambda cursor: list_jobs(
            session,
            status=status,
            metadata=metadata,
            preset=preset,
            batch_id=batch_id,
            created_after=created_after,
            created_before=created_before,
            limit=page_size,
            cursor=cursor,
        )
    )


def _status(status: JobStatus | str) -> str:
    if status not in [*JobStatus]:
        raise ValueError(f"`status` must be one of {', '.join(JobStatus)}")
    return str(status)
