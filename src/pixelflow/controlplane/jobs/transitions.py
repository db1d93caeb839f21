"""SQL that moves a job between statuses: queue, fail, cancel, erase, and reap its expired lease.

The functions of the database that it calls keep the queue in step (`docs/queue.md`).

All functions but ``reap_expired``, which serves the controller, are restricted to the jobs of ``user_id``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from psycopg.types.json import Jsonb

from pixelflow.adapters.postgres.database import AsyncConnection
from pixelflow.contracts.jobs.states import JobStatus


@dataclass(frozen=True)
class JobState:
    """A job's status, and the columns that its transitions depend on."""

    status: str
    source_type: str
    source_key: str
    run: int
    queued_at: datetime | None
    source_expired_at: datetime | None
    source_job_id: UUID | None
    """The earlier job that owns the source."""
    file_exists: bool
    """Whether that job exists and its file has not expired; true without such a job."""
    declared_bytes: int | None = None
    multipart_upload: str | None = field(default=None, repr=False)
    """ID of the upload in parts at object storage."""


_ORIGIN_HAS_FILE = """
    SELECT FROM jobs AS origin
    WHERE origin.job_id = jobs.source_job_id AND origin.user_id = jobs.user_id AND origin.erased_at IS NULL
      AND CASE WHEN jobs.source_output IS NULL THEN origin.source_expired_at ELSE origin.outputs_expired_at END IS NULL
"""


async def find(connection: AsyncConnection, *, job_id: UUID, user_id: str) -> JobState | None:
    """Return the state of the user's job, or ``None`` if it does not exist or was erased."""
    cursor = await connection.execute(
        f"""
        SELECT status, source_type, source_key, run, queued_at, source_expired_at, source_job_id, declared_bytes,
               multipart_upload,
               source_job_id IS NULL OR EXISTS ({_ORIGIN_HAS_FILE}) AS file_exists
        FROM jobs WHERE job_id = %s AND user_id = %s AND erased_at IS NULL
        """,  # noqa: S608  # fixed parts
        (job_id, user_id),
    )
    row = await cursor.fetchone()
    return JobState(**row) if row else None


async def set_multipart_upload(
    connection: AsyncConnection, *, job_id: UUID, user_id: str, upload_id: str, replaced: str | None
) -> bool:
    """Set the multipart upload of the user's job; ``False`` if it awaits no source or does not have ``replaced``."""
    cursor = await connection.execute(
        """
        UPDATE jobs SET multipart_upload = %(upload_id)s
        WHERE job_id = %(job_id)s AND user_id = %(user_id)s AND status = 'created' AND erased_at IS NULL
          AND multipart_upload IS NOT DISTINCT FROM %(replaced)s::text
        """,
        {"job_id": job_id, "user_id": user_id, "upload_id": upload_id, "replaced": replaced},
    )
    return cursor.rowcount == 1


@dataclass(frozen=True)
class QueuedRun:
    """A run of a job that was queued."""

    run: int
    queued_at: datetime


_QUEUE = """
WITH origin AS (
    SELECT FROM jobs AS origin JOIN jobs AS reader ON origin.job_id = reader.source_job_id
    WHERE reader.job_id = %(job_id)s AND origin.user_id = %(user_id)s AND origin.erased_at IS NULL
      AND CASE WHEN reader.source_output IS NULL THEN origin.source_expired_at
               ELSE origin.outputs_expired_at END IS NULL
    FOR SHARE OF origin
), moved AS (
    UPDATE jobs SET status = 'queued', queued_at = now(), finished_at = NULL, error = NULL, attempts = 0,
                    run = run + %(new_run)s, source_bytes = %(source_bytes)s::bigint,
                    source_version = %(source_version)s, source_version_run = run + %(new_run)s,
                    traceparent = %(traceparent)s
    WHERE job_id = %(job_id)s AND user_id = %(user_id)s AND erased_at IS NULL AND status = ANY(%(moved_from)s)
      AND source_key = %(source_key)s AND source_expired_at IS NULL
      AND (source_job_id IS NULL OR EXISTS (SELECT FROM origin))
    RETURNING job_id, run, queued_at
)
SELECT run, queued_at, enqueue_job(job_id, %(max_active)s::integer) FROM moved
"""
"""The origin is the job whose file is read. Its lock makes the expiry of the file see this job, or this see that."""


async def queue(
    connection: AsyncConnection,
    *,
    job_id: UUID,
    user_id: str,
    moved_from: Iterable[JobStatus],
    new_run: bool,
    source_key: str,
    source_bytes: int | None,
    source_version: str,
    traceparent: str | None,
    max_active: int | None,
) -> QueuedRun | None:
    """Move the user's job to ``queued``.

    Returns ``None`` and changes nothing if the job is in none of the statuses ``moved_from``, if its source key differs
    from ``source_key`` (the object that the caller checked), or if its source has expired, also as the file of another
    job.

    Args:
        connection: scoped to the user.
        job_id: the job.
        user_id: its owner.
        moved_from: statuses that the job may have.
        new_run: whether a new run starts.
        source_key: of the object that the caller checked.
        source_bytes: its size, if it is known.
        source_version: its version, which workers compare; empty: they don't.
        traceparent: of the request.
        max_active: the user's limit of active jobs, unless an operator set another.
    """
    cursor = await connection.execute(
        _QUEUE,
        {
            "job_id": job_id,
            "user_id": user_id,
            "moved_from": list(moved_from),
            "new_run": int(new_run),
            "source_key": source_key,
            "source_bytes": source_bytes,
            "source_version": source_version,
            "traceparent": traceparent,
            "max_active": max_active,
        },
    )
    row = await cursor.fetchone()
    return QueuedRun(row["run"], row["queued_at"]) if row else None


async def fail_unstarted(
    connection: AsyncConnection, *, job_id: UUID, user_id: str, code: str, message: str, upload_grace: timedelta
) -> bool:
    """Fail the user's job that can't be started with its source; returns whether it still was ``created``.

    Its upload expires: it is deleted when no more can arrive, after ``upload_grace``.
    """
    cursor = await connection.execute(
        """
        WITH failed AS (
            UPDATE jobs SET status = 'failed', finished_at = now(), error = %(error)s,
                            source_expired_at = CASE source_type WHEN 's3_presigned' THEN now() END
            WHERE job_id = %(job_id)s AND user_id = %(user_id)s AND erased_at IS NULL AND status = 'created'
            RETURNING job_id, source_expired_at
        ), deletion AS (
            INSERT INTO pending_deletions (job_id, kind, attempt, due_at)
            SELECT job_id, 'source', 0, now() + %(upload_grace)s FROM failed WHERE source_expired_at IS NOT NULL
        )
        SELECT job_id FROM failed
        """,
        {
            "job_id": job_id,
            "user_id": user_id,
            "error": Jsonb({"code": code, "message": message, "step_id": None}),
            "upload_grace": upload_grace,
        },
    )
    return await cursor.fetchone() is not None


async def _lock(connection: AsyncConnection, job_id: UUID, user_id: str) -> None:
    """Lock the job's row, so that the next statement sees everything that a concurrent writer of the job committed.

    A statement that itself waits for a row lock sees the latest version of that row, but all other rows as of the start
    of the statement (PostgreSQL 13.2.1, Read Committed).
    """
    await connection.execute("SELECT FROM jobs WHERE job_id = %s AND user_id = %s FOR UPDATE", (job_id, user_id))


async def cancel(connection: AsyncConnection, *, job_id: UUID, user_id: str) -> bool:
    """Cancel the user's job; returns whether it was unfinished. Must run in a transaction.

    A worker that processes the job notices when it renews its lease.
    """
    await _lock(connection, job_id, user_id)
    cursor = await connection.execute(
        """
        WITH canceled AS (
            UPDATE jobs SET status = 'canceled', finished_at = now()
            WHERE job_id = %(job_id)s AND user_id = %(user_id)s AND erased_at IS NULL
              AND status IN ('created', 'queued', 'processing')
            RETURNING job_id, lease_token
        ), closed AS (
            UPDATE attempts SET ended_at = now(), outcome = 'canceled'
            FROM canceled
            WHERE attempts.job_id = canceled.job_id AND attempts.attempt = canceled.lease_token AND ended_at IS NULL
        )
        SELECT dequeue_job(job_id, NULL) FROM canceled
        """,
        {"job_id": job_id, "user_id": user_id},
    )
    return await cursor.fetchone() is not None


async def erase(connection: AsyncConnection, *, job_id: UUID, user_id: str) -> bool:
    """Turn the user's job into a tombstone; returns whether it existed. Must run in a transaction.

    A tombstone is finished, holds no personal data and is invisible to its owner. Its files are due for deletion.
    """
    await _lock(connection, job_id, user_id)
    cursor = await connection.execute(
        """
        WITH erased AS (
            UPDATE jobs SET erased_at = now(),
                            finished_at = COALESCE(finished_at, now()),
                            status = CASE WHEN status IN ('succeeded', 'failed') THEN status ELSE 'canceled' END,
                            pipeline = '[]', preset_parameters = '{}', destination = NULL,
                            metadata = '{}', webhook_url = NULL, error = NULL, warnings = '[]',
                            traceparent = NULL, declared_content_type = NULL, declared_sha256 = NULL,
                            source_sha256 = NULL, source_version = NULL, source_url = NULL, source_bucket = NULL,
                            source_key = CASE source_type WHEN 'bucket' THEN '' ELSE source_key END
            WHERE job_id = %(job_id)s AND user_id = %(user_id)s AND erased_at IS NULL
            RETURNING job_id, lease_token
        ), deleted_events AS (
            DELETE FROM events USING erased WHERE events.job_id = erased.job_id
        ), deleted_outputs AS (
            DELETE FROM outputs USING erased WHERE outputs.job_id = erased.job_id
        ), deleted_assets AS (
            DELETE FROM job_assets USING erased WHERE job_assets.job_id = erased.job_id
        ), closed AS (
            UPDATE attempts SET error = NULL, ended_at = COALESCE(ended_at, now()),
                                outcome = COALESCE(outcome, 'canceled')
            FROM erased WHERE attempts.job_id = erased.job_id
        ), files AS (
            INSERT INTO pending_deletions (job_id, kind, attempt, due_at) SELECT job_id, 'job', 0, now() FROM erased
        )
        SELECT dequeue_job(job_id, NULL) FROM erased
        """,
        {"job_id": job_id, "user_id": user_id},
    )
    return await cursor.fetchone() is not None


@dataclass(frozen=True)
class ReapedRow:
    """A job whose lease expired, with its new status."""

    job_id: UUID
    user_id: str
    lease_token: int
    """Number of the attempt that lost the lease."""
    attempts: int
    status: str


async def find_expired(connection: AsyncConnection, *, limit: int, overdue: timedelta = timedelta(0)) -> list[UUID]:
    """Return jobs whose lease expired that long ago, longest first; ``connection`` has a tenant scope of all users."""
    cursor = await connection.execute(
        """
        SELECT job_id FROM job_queue WHERE state = 'active' AND lease_until < now() - %s::interval
        ORDER BY lease_until LIMIT %s
        """,
        (overdue, limit),
    )
    return [row["job_id"] for row in await cursor.fetchall()]


_REAP_EXPIRED = """
WITH expired AS (
    SELECT queue.job_id,
           EXISTS (SELECT FROM workers WHERE workers.worker_id = queue.worker_id
                                         AND workers.seen_at > queue.lease_until) AS is_free
    FROM job_queue AS queue JOIN jobs USING (job_id)
    WHERE queue.state = 'active' AND queue.lease_until < now() - %(overdue)s::interval
      AND queue.job_id = coalesce(%(only)s::uuid, queue.job_id)
    ORDER BY queue.lease_until
    LIMIT %(limit)s
    FOR NO KEY UPDATE OF queue, jobs SKIP LOCKED
), moved AS (
    UPDATE jobs SET
        attempts    = CASE WHEN is_free THEN greatest(attempts - 1, 0) ELSE attempts END,
        status      = CASE WHEN is_free OR attempts < max_attempts THEN 'queued' ELSE 'failed' END,
        finished_at = CASE WHEN is_free OR attempts < max_attempts THEN NULL ELSE now() END,
        error       = CASE WHEN is_free OR attempts < max_attempts THEN error
                           ELSE jsonb_build_object('code', 'attempts_exhausted', 'message', %(exhausted)s::text,
                                                   'step_id', NULL)
                      END
    FROM expired WHERE jobs.job_id = expired.job_id
    RETURNING jobs.job_id, jobs.user_id, jobs.attempts, jobs.status, jobs.lease_token
), closed AS (
    UPDATE attempts SET ended_at = now(), outcome = 'lost'
    FROM moved WHERE attempts.job_id = moved.job_id AND attempts.attempt = moved.lease_token
), in_lock_order AS (
    SELECT * FROM moved ORDER BY user_id
)
SELECT job_id, user_id, lease_token, attempts, status,
       CASE WHEN status = 'queued' THEN requeue_job(job_id, interval '0', NULL)
            ELSE dequeue_job(job_id, NULL) END AS moved
FROM in_lock_order
"""


async def reap_expired(
    connection: AsyncConnection,
    *,
    limit: int,
    exhausted: str,
    only: UUID | None = None,
    overdue: timedelta = timedelta(0),
) -> list[ReapedRow]:
    """Requeue jobs whose lease expired, or fail those without attempts left, in one statement.

    The attempt is not counted if its worker sent a sign of life after the lease expired: the worker did not crash, but
    could not reach the database in time.

    The worker that held the lease can't write to the job afterwards: each of its writes requires the status and the
    lease token of its claim.

    Args:
        connection: with a tenant scope of all users.
        limit: maximum number of jobs.
        exhausted: error message of jobs that fail.
        only: the only job to reap; ``None``: all.
        overdue: how long ago the lease must have expired.
    """
    cursor = await connection.execute(
        _REAP_EXPIRED,
        {"limit": limit, "exhausted": exhausted, "overdue": overdue, "only": only},
    )
    names = ReapedRow.__dataclass_fields__
    return [ReapedRow(**{name: row[name] for name in names}) for row in await cursor.fetchall()]
