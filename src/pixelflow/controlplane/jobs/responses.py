"""A job as its owner sees it, made from its row: the one place where rows become answers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from pixelflow.contracts.jobs import Job, JobFailure, Output, Source, Usage
from pixelflow.controlplane.jobs.store import JobRow

DownloadUrl = Callable[[JobRow, dict[str, object]], str | None]


def to_response(row: JobRow, download_url: DownloadUrl, *, expires_at: datetime | None) -> Job:
    """The job of ``row``; ``download_url`` signs the way to each of its outputs while they are there."""
    return Job(
        job_id=row.job_id,
        status=row.status,
        source=_source(row),
        pipeline=row.pipeline,
        webhook_url=row.webhook_url,
        metadata=row.metadata,
        attempts=row.attempts,
        max_attempts=row.max_attempts,
        created_at=row.created_at,
        queued_at=row.queued_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        outputs=[_output(row, output, download_url) for output in row.outputs],
        error=JobFailure(**row.error) if row.error else None,
        usage=Usage(**row.usage) if row.usage else None,
        expires_at=expires_at,
    )


def _output(row: JobRow, output: dict[str, object], download_url: DownloadUrl) -> Output:
    expired_at = row.outputs_expired_at
    return Output(**output, download_url=None if expired_at else download_url(row, output), expired_at=expired_at)


def _source(row: JobRow) -> Source:
    return Source(
        type=row.source_type,
        object_key=row.source_key,
        bytes=row.source_bytes if row.source_bytes is not None else row.declared_bytes,
        content_type=row.declared_content_type,
        sha256=row.source_sha256,
        format=row.source_format,
        width=row.source_width,
        height=row.source_height,
        expired_at=row.source_expired_at,
    )
