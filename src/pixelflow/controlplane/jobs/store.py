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
from pixelflow.controlplane.jobs.filters import JobFilters
from pixelflow.controlplane.presets.service import AppliedPreset

_COLUMNS = """
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
MAX_SCANNED = 1000
"""Jobs that one request reads at most when it lists jobs by several conditions; at 4 pages each, about 10 ms."""
Position = tuple[datetime, UUID]
"""Creation time and ID of the last job that a list has shown."""
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


_NAMES = tuple(JobRow.__dataclass_fields__)


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


async def find(connection: AsyncConnection, *, job_id: UUID, user_id: str) -> JobRow | None:
    """Return the user's job, or ``None`` if it does not exist or was erased."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} {_FROM} WHERE jobs.job_id = %s AND jobs.user_id = %s AND erased_at IS NULL",
        (job_id, user_id),
    )
    row = await cursor.fetchone()
    return JobRow(**row) if row else None


@dataclass(frozen=True)
class JobList:
    """Some jobs, newest first."""

    rows: list[JobRow]
    scanned_to: Position | None
    """Where reading stopped before the limit was reached; ``None``: there are no more jobs, or the limit was."""


async def list_newest(
    connection: AsyncConnection,
    *,
    user_id: str,
    filters: JobFilters,
    limit: int,
    before: Position | None,
    scan: int = MAX_SCANNED,
) -> JobList:
    """Return at most ``limit`` of the user's jobs, newest first, after ``before`` (exclusive).

    With a condition of ``job_filters``, ``scan`` jobs that meet this one are read at most; those that meet the others,
    too, are returned.
    """
    # Optional conditions are omitted instead of written as «parameter IS NULL OR …»: Postgres caches one generic plan
    # for a statement that is sent often, and for such a condition that plan reads and sorts all jobs of the user.
    statement = _scanned_page(filters, before) if filters.indexed else _page("jobs", filters, before)
    cursor = await connection.execute(statement, _values(user_id, filters, before) | {"limit": limit, "scan": scan})
    found = await cursor.fetchall()
    rows = [JobRow(**{name: row[name] for name in _NAMES}) for row in found if row["job_id"] is not None]
    has_end = filters.indexed and found[0]["scanned_at"] is not None
    return JobList(rows, (found[0]["scanned_at"], found[0]["scanned_id"]) if has_end else None)


def _page(source: str, filters: JobFilters, before: Position | None) -> str:
    is_table = source == "jobs"
    order = "jobs" if is_table else "found"
    conditions = [*_checked(filters), *(_range(filters, before, "jobs") if is_table else [])]
    return f"""
        SELECT {_COLUMNS} FROM {source} LEFT JOIN usage_logs ON usage_logs.job_id = jobs.job_id
        WHERE {" AND ".join(["jobs.user_id = %(user_id)s", "erased_at IS NULL", *conditions])}
        ORDER BY {order}.created_at DESC, {order}.job_id DESC
        LIMIT %(limit)s
    """  # noqa: S608  # fixed column names and conditions


def _scanned_page(filters: JobFilters, before: Position | None) -> str:
    """The page and where its scan ended, in one snapshot: a job that comes or goes moves both. At least one row."""
    found = _found(filters, before)
    page = _page(f"({found} LIMIT %(scan)s) AS found JOIN jobs ON jobs.job_id = found.job_id", filters, before)
    return f"""
        WITH page AS MATERIALIZED ({page}), scanned AS (
            SELECT created_at AS scanned_at, job_id AS scanned_id FROM (
                {found} OFFSET %(scan)s - 1
                LIMIT CASE WHEN (SELECT count(*) FROM page) < %(limit)s THEN 1 ELSE 0 END
            ) AS last
        )
        SELECT page.*, scanned_at, scanned_id
        FROM (VALUES (1)) AS one (n) LEFT JOIN scanned ON true LEFT JOIN page ON true
        ORDER BY page.created_at DESC, page.job_id DESC
    """  # noqa: S608  # fixed column names and conditions


def _found(filters: JobFilters, before: Position | None) -> str:
    conditions = ["user_id = %(user_id)s", "digest = filter_digest(%(filter_name)s, %(filter_value)s)"]
    return f"""
        SELECT created_at, job_id FROM job_filters AS entry
        WHERE {" AND ".join([*conditions, *_range(filters, before, "entry")])}
        ORDER BY created_at DESC, job_id DESC
    """  # noqa: S608  # fixed column names and conditions


def _range(filters: JobFilters, before: Position | None, table: str) -> list[str]:
    return [
        *([f"({table}.created_at, {table}.job_id) < (%(at)s, %(job_id)s)"] if before else []),
        *([f"{table}.created_at >= %(created_after)s"] if filters.created_after else []),
        *([f"{table}.created_at < %(created_before)s"] if filters.created_before else []),
    ]


def _checked(filters: JobFilters) -> list[str]:
    """Conditions that are checked for each job; digests may be equal although the values differ."""
    return [
        *(["jobs.status = %(status)s"] if filters.status else []),
        *(["metadata @> %(metadata)s"] if filters.metadata else []),
        *(["preset = %(preset)s"] if filters.preset else []),
        *(["preset_version = %(preset_version)s"] if filters.preset and filters.preset.version else []),
        *(["batch_id = %(batch_id)s"] if filters.batch_id else []),
    ]


def _values(user_id: str, filters: JobFilters, before: Position | None) -> dict[str, Any]:
    at, job_id = before or (None, None)
    filter_name, filter_value = filters.indexed or (None, None)
    return {
        "user_id": user_id,
        "at": at,
        "job_id": job_id,
        "filter_name": filter_name,
        "filter_value": filter_value,
        "status": filters.status,
        "created_after": filters.created_after,
        "created_before": filters.created_before,
        "metadata": Jsonb(dict(filters.metadata)),
        "preset": filters.preset.name if filters.preset else None,
        "preset_version": filters.preset.version if filters.preset else None,
        "batch_id": filters.batch_id,
    }
