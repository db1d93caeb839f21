"""Sources that belong to an earlier job: its own source, or one of its outputs.

A job reads the file where it is. It owns nothing of it: only the earlier job's retention and erasure delete the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncConnection
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.sources import DeclaredSource, SourceType
from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.controlplane.jobs.queries import job_not_found
from pixelflow.controlplane.jobs.store import SourcePlace
from pixelflow.errors import JobNotFinishedError, OutputMissingError, SourceMissingError
from pixelflow.imaging.formats.registry import FORMATS


@dataclass(frozen=True)
class Origin:
    """An earlier job, and the files that it can give."""

    job_id: UUID
    status: str
    queued_at: datetime | None
    source_type: str
    source_key: str
    source_job_id: UUID | None
    source_output: str | None
    source_bucket: str | None
    source_url: str | None
    declared_content_type: str | None
    source_format: str | None
    source_sha256: str | None
    source_expired_at: datetime | None
    outputs_expired_at: datetime | None
    outputs: list[dict[str, Any]]


async def find(connection: AsyncConnection, *, job_id: UUID, user_id: str) -> Origin | None:
    """Return the user's job, or ``None`` if it does not exist or was erased."""
    cursor = await connection.execute(
        """
        SELECT job_id, status, queued_at, source_type, source_key, source_job_id, source_output, source_bucket,
               source_url, declared_content_type, source_format, source_sha256, source_expired_at, outputs_expired_at,
               COALESCE((SELECT jsonb_agg(jsonb_build_object('step_id', step_id, 'key', object_key, 'format', format,
                                                             'sha256', sha256) ORDER BY position)
                         FROM outputs WHERE outputs.job_id = jobs.job_id), '[]') AS outputs
        FROM jobs WHERE job_id = %s AND user_id = %s AND erased_at IS NULL
        """,
        (job_id, user_id),
    )
    row = await cursor.fetchone()
    return Origin(**row) if row else None


def resolve(request: CreateJobRequest, origin: Origin | None) -> tuple[CreateJobRequest, SourcePlace]:
    """Return a request for the file that the request means, and where that file is.

    The file must have the SHA-256 that it had for the earlier job.

    Raises:
        NotFoundError: there is no such job.
        JobNotFinishedError: it was never started, or it has no outputs yet.
        OutputMissingError: it has no such output.
        SourceMissingError: the file has expired.
    """
    declared = request.source or DeclaredSource()
    if origin is None:
        raise job_not_found()
    if declared.output is None:
        return _source_of(origin, request, declared)
    return _output_of(origin, declared.output, request, declared)


def _source_of(
    origin: Origin, request: CreateJobRequest, declared: DeclaredSource
) -> tuple[CreateJobRequest, SourcePlace]:
    if origin.queued_at is None:
        raise JobNotFinishedError(f"The job {origin.job_id} was never started; start it, or wait until it is started")
    if origin.source_expired_at is not None:
        raise SourceMissingError(f"The source of the job {origin.job_id} has expired and is deleted; upload it again")
    media_type = origin.declared_content_type or _media_type(origin.source_format)
    place = SourcePlace(
        origin.source_key, origin.source_job_id, origin.source_output, origin.source_url, origin.source_bucket
    )
    source_type = SourceType(origin.source_type)
    if source_type is SourceType.S3_PRESIGNED:
        source_type, place = SourceType.JOB, SourcePlace(origin.source_key, origin.job_id)
    return _resolved(request, declared, source_type, media_type, origin.source_sha256), place


def _output_of(
    origin: Origin, step_id: str, request: CreateJobRequest, declared: DeclaredSource
) -> tuple[CreateJobRequest, SourcePlace]:
    if origin.status in {JobStatus.CREATED, JobStatus.QUEUED, JobStatus.PROCESSING}:
        raise JobNotFinishedError(f"The job {origin.job_id} has no outputs yet; wait until it has succeeded")
    found = {output["step_id"]: output for output in origin.outputs}
    if step_id not in found:
        raise OutputMissingError(_no_output(origin, step_id))
    if origin.outputs_expired_at is not None:
        raise SourceMissingError(
            f"The outputs of the job {origin.job_id} have expired and are deleted; process its source again"
        )
    output = found[step_id]
    is_local = origin.source_type == SourceType.LOCAL_FILE
    source_type = SourceType.LOCAL_FILE if is_local else SourceType.JOB
    resolved = _resolved(request, declared, source_type, _media_type(output["format"]), output["sha256"])
    return resolved, SourcePlace(output["key"], origin.job_id, step_id)


def _no_output(origin: Origin, step_id: str) -> str:
    if origin.status != JobStatus.SUCCEEDED:
        return f"The job {origin.job_id} has no outputs: it has {origin.status}"
    names = ", ".join(f"`{output['step_id']}`" for output in origin.outputs)
    return f"The job {origin.job_id} has no output `{step_id}`; it has {names}"


def _resolved(
    request: CreateJobRequest,
    declared: DeclaredSource,
    source_type: SourceType,
    media_type: str | None,
    sha256: str | None,
) -> CreateJobRequest:
    """Declare what is known of the file; what the client declares takes precedence."""
    known = {"content_type": declared.content_type or media_type, "sha256": declared.sha256 or sha256}
    return request.model_copy(update={"source_type": source_type, "source": declared.model_copy(update=known)})


def _media_type(format_: str | None) -> str | None:
    known = FORMATS.get(format_ or "")  # None: not decoded yet, or of a newer release
    return known.media_type if known else None
