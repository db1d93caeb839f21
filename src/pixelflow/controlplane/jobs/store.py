"""SQL that creates and reads jobs. Every function is restricted to the jobs of ``user_id``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from pixelflow.adapters.postgres.database import AsyncConnection
from pixelflow.contracts.jobs import PRIORITY_RANKS, CreateJobRequest
from pixelflow.controlplane.idempotency.store import AnsweredKey

_COLUMNS = """
    jobs.job_id, jobs.status, source_type, source_key, declared_bytes, declared_content_type, source_options,
    pipeline, metadata, webhook_url,
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
_FROM = "FROM jobs LEFT JOIN usage_logs ON usage_logs.job_id = jobs.job_id"


@dataclass(frozen=True)
class JobRow:
    """A job joined with its outputs and usage."""

    job_id: UUID
    status: str
    source_type: str
    source_key: str
    declared_bytes: int | None
    declared_content_type: str | None
    source_options: dict[str, Any]
    pipeline: list[dict[str, Any]]
    metadata: dict[str, str]
    webhook_url: str | None
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


_INSERT_INTO = """
    INSERT INTO jobs (job_id, user_id, source_type, source_key, declared_bytes, declared_content_type,
                      source_options, pipeline, metadata, webhook_url, max_attempts, priority, requires)
"""
_INSERT = f"""
    {_INSERT_INTO} VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (job_id) DO NOTHING
"""
_INSERT_WITH_KEY = f"""
    WITH key AS (
        INSERT INTO idempotency_keys
            (user_id, key, fingerprint, job_id, resource_id, holder, status, ciphertext, lease_until)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, now()) ON CONFLICT DO NOTHING
        RETURNING user_id
    )
    {_INSERT_INTO} SELECT %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s FROM key
"""  # noqa: S608  # fixed parts


async def insert(
    connection: AsyncConnection,
    *,
    job_id: UUID,
    user_id: str,
    request: CreateJobRequest,
    source_key: str,
    max_attempts: int,
    key: AnsweredKey | None = None,
) -> bool:
    """Insert a job with status ``created``. Idempotent: nothing changes if the ID exists.

    With ``key``, insert the idempotency key, too. If it exists, return False and insert nothing.
    """
    declared = request.source
    values = (
        job_id,
        user_id,
        request.source_type,
        source_key,
        declared.content_length if declared else None,
        declared.content_type if declared else None,
        Jsonb(declared.options.model_dump(mode="json", exclude_defaults=True) if declared else {}),
        Jsonb([step.model_dump(mode="json", by_alias=True, exclude_unset=True) for step in request.pipeline]),
        Jsonb(request.metadata),
        request.webhook_url,
        max_attempts,
        PRIORITY_RANKS[request.priority],
        list(request.requires),
    )
    if key is None:
        await connection.execute(_INSERT, values)
        return True
    key_values = (user_id, key.key, key.fingerprint, job_id, job_id, job_id, key.status, key.ciphertext)
    cursor = await connection.execute(_INSERT_WITH_KEY, (*key_values, *values))
    return cursor.rowcount == 1


async def find(connection: AsyncConnection, *, job_id: UUID, user_id: str) -> JobRow | None:
    """Return the user's job, or ``None`` if it does not exist or was erased."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} {_FROM} WHERE jobs.job_id = %s AND jobs.user_id = %s AND erased_at IS NULL",
        (job_id, user_id),
    )
    row = await cursor.fetchone()
    return JobRow(**row) if row else None


async def list_newest(
    connection: AsyncConnection, *, user_id: str, status: str | None, limit: int, before: tuple[datetime, UUID] | None
) -> list[JobRow]:
    """Return the user's jobs, newest first, after ``before`` (creation time and ID of the last job seen; exclusive)."""
    created_at, job_id = before or (None, None)
    # Optional conditions are omitted instead of written as «parameter IS NULL OR …»: Postgres caches one generic plan
    # for a statement that is sent often, and for such a condition that plan reads and sorts all jobs of the user.
    status_condition = "" if status is None else "AND jobs.status = %(status)s"
    cursor_condition = "" if before is None else "AND (jobs.created_at, jobs.job_id) < (%(created_at)s, %(job_id)s)"
    cursor = await connection.execute(
        f"""
        SELECT {_COLUMNS} {_FROM}
        WHERE jobs.user_id = %(user_id)s AND erased_at IS NULL {status_condition} {cursor_condition}
        ORDER BY jobs.created_at DESC, jobs.job_id DESC
        LIMIT %(limit)s
        """,  # fixed column names and conditions
        {"user_id": user_id, "status": status, "created_at": created_at, "job_id": job_id, "limit": limit},
    )
    return [JobRow(**row) for row in await cursor.fetchall()]
