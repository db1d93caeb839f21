"""SQL that creates and reads jobs. Every function is restricted to the jobs of ``user_id``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from pixelflow.adapters.postgres.database import AsyncConnection
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.sources import DeclaredSource
from pixelflow.contracts.jobs.states import PRIORITY_RANKS
from pixelflow.controlplane.idempotency.store import AnsweredKey
from pixelflow.controlplane.presets.service import AppliedPreset
from pixelflow.errors import SourcePostponedError

MAX_ATTEMPTS_READ = 1000
"""Attempts of a job that are read at most for its history."""
COLUMNS = """
    jobs.job_id, jobs.status, source_type, source_key, source_job_id, source_output, source_bucket, source_url,
    declared_bytes,
    declared_content_type, source_options, pipeline, preset, preset_version, preset_parameters, destination, metadata,
    batch_id, webhook_url, auto_start,
    source_bytes, source_sha256, source_format, source_width, source_height, source_frames, warnings, attempts,
    max_attempts, priority, error,
    CASE WHEN jobs.status = 'queued' THEN missing_capabilities(requires) END AS waiting_for,
    jobs.created_at, queued_at, started_at, finished_at, source_expired_at, outputs_expired_at,
    CASE WHEN usage_logs.job_id IS NULL THEN NULL
         ELSE jsonb_build_object('pixels_processed', pixels_processed, 'bytes_saved', bytes_saved,
                                 'compute_time_ms', compute_time_ms)
    END AS usage,
    COALESCE((SELECT jsonb_agg(to_jsonb(outputs) - 'job_id' ORDER BY position)
              FROM outputs WHERE outputs.job_id = jobs.job_id), '[]') AS outputs
"""
_HISTORY = f"""
    COALESCE((SELECT jsonb_agg(to_jsonb(latest) ORDER BY attempt)
              FROM (SELECT * FROM (
                        SELECT attempt, nullif(split_part(worker_id, ':', 2), '') AS worker, started_at, ended_at,
                               outcome, error
                        FROM attempts WHERE attempts.job_id = jobs.job_id
                        ORDER BY attempt DESC LIMIT {MAX_ATTEMPTS_READ}
                    ) AS read
                    WHERE error->>'code' IS DISTINCT FROM '{SourcePostponedError.code}'
                    ORDER BY attempt DESC LIMIT 20) AS latest), '[]')
    AS history
"""  # noqa: S608  # fixed parts
"""The latest attempts, without those that only waited for their turn, which may be every second.

The name of a worker starts with that of its host, which is the operator's matter.
"""
_FROM = "FROM jobs LEFT JOIN usage_logs ON usage_logs.job_id = jobs.job_id"


@dataclass(frozen=True)
class JobRow:
    """A job joined with its outputs and usage."""

    job_id: UUID
    status: str
    source_type: str
    source_key: str
    source_job_id: UUID | None
    source_output: str | None
    source_bucket: str | None
    source_url: str | None
    declared_bytes: int | None
    declared_content_type: str | None
    source_options: dict[str, Any]
    pipeline: list[dict[str, Any]]
    preset: str | None
    preset_version: int | None
    preset_parameters: dict[str, Any]
    destination: dict[str, Any] | None
    metadata: dict[str, str]
    batch_id: UUID | None
    webhook_url: str | None
    auto_start: bool
    source_bytes: int | None
    source_sha256: str | None
    source_format: str | None
    source_width: int | None
    source_height: int | None
    source_frames: int | None
    warnings: list[dict[str, Any]]
    attempts: int
    max_attempts: int
    priority: int
    waiting_for: list[str] | None
    error: dict[str, Any] | None
    created_at: datetime
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    source_expired_at: datetime | None
    outputs_expired_at: datetime | None
    usage: dict[str, int] | None
    outputs: list[dict[str, Any]]
    history: list[dict[str, Any]] | None = None
    """The latest attempts; ``None``: not read."""


@dataclass(frozen=True)
class SourcePlace:
    """Where the source of a job is."""

    key: str
    """Of the object, in a named bucket below its prefix; or the path of a local file."""
    job_id: UUID | None = None
    """The earlier job that owns the file."""
    output: str | None = None
    """The step of that job whose output it is; ``None``: its source."""
    url: str | None = None
    """Where a worker fetches the file."""
    bucket: str | None = None
    """The named bucket that has the object."""


@dataclass(frozen=True)
class UploadLimits:
    """Limits of a user's jobs whose upload may still arrive, because they were never started."""

    uploads: int
    bytes: int
    undeclared_bytes: int
    """What a job without a declared size counts as."""


@dataclass(frozen=True)
class Waiting:
    """How a controller waits for the source of a job that starts by itself."""

    first_check: timedelta
    """Time until the source may be there."""
    longest: timedelta
    """Time after which it can't arrive any more."""
    traceparent: str | None
    """Of the request that created the job."""


class Insertion(Enum):
    """What became of an insert."""

    INSERTED = "inserted"
    EXISTS = "exists"
    """The idempotency key exists or, without one, the job."""
    OVER_LIMIT = "over limit"
    """A limit of the user's uploads would be exceeded."""
    CLOSED = "closed"
    """The batch takes no more jobs, or does not exist."""


_PENDING = """
    pending AS (
        SELECT count(*) AS uploads, coalesce(sum(bytes), 0) AS bytes FROM (
            SELECT coalesce(declared_bytes, %(undeclared_bytes)s::bigint) AS bytes FROM jobs
            WHERE user_id = %(user_id)s AND queued_at IS NULL AND source_expired_at IS NULL
              AND source_type = 's3_presigned'
            LIMIT %(max_uploads)s
        ) AS upload
    ), open_batch AS (
        SELECT FROM batches
        WHERE batch_id = %(batch_id)s::uuid AND user_id = %(user_id)s AND closed_at IS NULL AND canceled_at IS NULL
        FOR SHARE
    ), allowed AS (
        SELECT FROM pending
        WHERE (%(source_type)s::text <> 's3_presigned'
               OR (uploads < %(max_uploads)s
                   AND bytes + coalesce(%(content_length)s::bigint, %(undeclared_bytes)s::bigint) <= %(max_bytes)s))
          AND (%(batch_id)s::uuid IS NULL OR EXISTS (SELECT FROM open_batch))
    )
"""
"""The user's uploads that may still arrive, and one row if there is room for another one and the batch takes it.

The lock makes the request that closes the batch wait, so that whoever sees the batch closed sees all of its jobs.
"""
_INSERT_JOB = """
    INSERT INTO jobs (job_id, user_id, source_type, source_key, source_job_id, source_output, declared_bytes,
                      declared_content_type, declared_sha256, source_options, pipeline, metadata, webhook_url,
                      max_attempts, priority, requires, preset, preset_version, preset_parameters, destination,
                      auto_start, source_url, source_bucket, batch_id)
    SELECT %(job_id)s::uuid, %(user_id)s::text, %(source_type)s::text, %(source_key)s::text,
           %(source_job_id)s::uuid, %(source_output)s::text, %(content_length)s::bigint, %(content_type)s::text,
           %(sha256)s::text, %(source_options)s::jsonb,
           %(pipeline)s::jsonb, %(metadata)s::jsonb, %(webhook_url)s::text, %(max_attempts)s::integer,
           %(priority)s::smallint, %(requires)s::text[],
           %(preset)s::text, %(preset_version)s::integer, %(preset_parameters)s::jsonb, %(destination)s::jsonb,
           %(auto_start)s::boolean, %(source_url)s::text, %(source_bucket)s::text, %(batch_id)s::uuid
"""
_AWAIT = """
    awaited AS (
        INSERT INTO awaited_sources (job_id, user_id, awaited_until, next_check_at, traceparent)
        SELECT job_id, %(user_id)s::text, now() + %(longest)s::interval, now() + %(first_check)s::interval,
               %(await_traceparent)s::text
        FROM inserted WHERE %(auto_start)s::boolean
    )
"""
_INSERT = f"""
    WITH {_PENDING}, inserted AS (
        {_INSERT_JOB} FROM allowed ON CONFLICT (job_id) DO NOTHING RETURNING job_id
    ), {_AWAIT}
    SELECT CASE WHEN EXISTS (SELECT FROM inserted) THEN 'inserted'
                WHEN EXISTS (SELECT FROM allowed) THEN 'exists'  -- inserted at this moment, so not visible
                WHEN EXISTS (SELECT FROM jobs WHERE job_id = %(job_id)s AND user_id = %(user_id)s) THEN 'exists'
                WHEN %(batch_id)s::uuid IS NOT NULL AND NOT EXISTS (SELECT FROM open_batch) THEN 'closed'
                ELSE 'over limit' END AS insertion
"""  # noqa: S608  # fixed parts
_INSERT_WITH_KEY = f"""
    WITH {_PENDING}, key AS (
        INSERT INTO idempotency_keys
            (user_id, key, fingerprint, job_id, resource_id, holder, status, ciphertext, lease_until)
        SELECT %(user_id)s, %(key)s, %(fingerprint)s, %(job_id)s, %(job_id)s, %(job_id)s, %(status)s, %(ciphertext)s,
               now()
        FROM allowed ON CONFLICT DO NOTHING
        RETURNING user_id
    ), inserted AS (
        {_INSERT_JOB} FROM key RETURNING job_id
    ), {_AWAIT}
    SELECT CASE WHEN EXISTS (SELECT FROM inserted) THEN 'inserted'
                WHEN EXISTS (SELECT FROM allowed) THEN 'exists'
                WHEN EXISTS (SELECT FROM idempotency_keys WHERE user_id = %(user_id)s AND key = %(key)s) THEN 'exists'
                ELSE 'over limit' END AS insertion
"""  # noqa: S608  # fixed parts


async def insert(
    connection: AsyncConnection,
    *,
    job_id: UUID,
    user_id: str,
    request: CreateJobRequest,
    place: SourcePlace,
    max_attempts: int,
    limits: UploadLimits,
    preset: AppliedPreset | None = None,
    destination: dict[str, Any] | None = None,
    batch_id: UUID | None = None,
    key: AnsweredKey | None = None,
    waiting: Waiting | None = None,
) -> Insertion:
    """Insert a job with status ``created``, and its idempotency key if there is one; both or neither.

    Concurrent inserts may exceed the limits by one job each. Canceled and erased jobs count as long as their upload
    URLs may be valid. With ``waiting``, a controller starts the job when its source is there.
    """
    values = {
        **_columns(request, place, preset or AppliedPreset()),
        "job_id": job_id,
        "user_id": user_id,
        "destination": Jsonb(destination) if destination else None,
        "max_attempts": max_attempts,
        "batch_id": batch_id,
        "max_uploads": limits.uploads,
        "max_bytes": limits.bytes,
        "undeclared_bytes": limits.undeclared_bytes,
        "auto_start": waiting is not None,
        "first_check": waiting and waiting.first_check,
        "longest": waiting and waiting.longest,
        "await_traceparent": waiting and waiting.traceparent,
        **(vars(key) if key else {}),
    }
    cursor = await connection.execute(_INSERT_WITH_KEY if key else _INSERT, values)
    row = await cursor.fetchone()
    assert row  # noqa: S101  # for the type checker: the statement always returns one
    return Insertion(row["insertion"])


def _columns(request: CreateJobRequest, place: SourcePlace, preset: AppliedPreset) -> dict[str, Any]:
    """The columns that a request determines."""
    declared = request.source or DeclaredSource()
    return {
        "source_type": request.source_type,
        "source_key": place.key,
        "source_job_id": place.job_id,
        "source_output": place.output,
        "source_url": place.url,
        "source_bucket": place.bucket,
        "content_length": declared.content_length,
        "content_type": declared.content_type,
        "sha256": declared.sha256,
        "source_options": Jsonb(declared.options.model_dump(mode="json", exclude_defaults=True)),
        "pipeline": Jsonb(
            [step.model_dump(mode="json", by_alias=True, exclude_unset=True) for step in request.pipeline]
        ),
        "metadata": Jsonb(request.metadata),
        "webhook_url": request.webhook_url,
        "priority": PRIORITY_RANKS[request.priority],
        "requires": list(request.requires),
        "preset": preset.name,
        "preset_version": preset.version,
        "preset_parameters": Jsonb(preset.parameters),
    }


async def find(connection: AsyncConnection, *, job_id: UUID, user_id: str, with_history: bool) -> JobRow | None:
    """Return the user's job, or ``None`` if it does not exist or was erased."""
    columns = f"{COLUMNS}, {_HISTORY}" if with_history else COLUMNS
    cursor = await connection.execute(
        f"SELECT {columns} {_FROM} WHERE jobs.job_id = %s AND jobs.user_id = %s AND erased_at IS NULL",
        (job_id, user_id),
    )
    row = await cursor.fetchone()
    return JobRow(**row) if row else None
