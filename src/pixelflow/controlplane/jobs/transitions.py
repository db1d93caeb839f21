"""SQL that moves a job between statuses: queue, cancel, erase, and reap its expired lease.

All functions but ``reap_expired``, which serves the controller, are restricted to the jobs of ``user_id``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncConnection
from pixelflow.contracts.jobs import JobStatus


@dataclass(frozen=True)
class JobState:
    """A job's status, and the columns that its transitions depend on."""

    status: str
    source_type: str
    source_key: str
    task_id: UUID | None
    queued_at: datetime | None
    source_expired_at: datetime | None


async def find(connection: AsyncConnection, *, job_id: UUID, user_id: str) -> JobState | None:
    """Return the state of the user's job, or ``None`` if it does not exist or was erased."""
    cursor = await connection.execute(
        """
        SELECT status, source_type, source_key, task_id, queued_at, source_expired_at FROM jobs
        WHERE job_id = %s AND user_id = %s AND erased_at IS NULL
        """,
        (job_id, user_id),
    )
    row = await cursor.fetchone()
    return JobState(**row) if row else None


async def queue(
    connection: AsyncConnection,
    *,
    job_id: UUID,
    user_id: str,
    moved_from: Iterable[JobStatus],
    new_run: bool,
    task_id: UUID,
    source_key: str,
    source_bytes: int,
    traceparent: str | None,
) -> datetime | None:
    """Move the user's job to ``queued`` and return the time.

    Returns ``None`` and changes nothing if the job is in none of the statuses ``moved_from``, if its source key differs
    from ``source_key`` (the object that the caller checked), or if its source has expired.

    The row is marked as relayed, because the caller sends the message immediately. If that fails, the caller calls
    ``queue.store.unsend``.
    """
    cursor = await connection.execute(
        """
        UPDATE jobs SET status = 'queued', queued_at = now(), run_at = now(), relayed_at = now(), finished_at = NULL,
                        error = NULL, attempts = 0, run = run + %(new_run)s,
                        task_id = %(task_id)s, source_bytes = %(source_bytes)s, traceparent = %(traceparent)s
        WHERE job_id = %(job_id)s AND user_id = %(user_id)s AND erased_at IS NULL AND status = ANY(%(moved_from)s)
          AND source_key = %(source_key)s AND source_expired_at IS NULL
        RETURNING queued_at
        """,
        {
            "job_id": job_id,
            "user_id": user_id,
            "moved_from": list(moved_from),
            "new_run": int(new_run),
            "task_id": task_id,
            "source_key": source_key,
            "source_bytes": source_bytes,
            "traceparent": traceparent,
        },
    )
    row = await cursor.fetchone()
    return row["queued_at"] if row else None


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
            UPDATE jobs SET status = 'canceled', finished_at = now(), lease_until = NULL
            WHERE job_id = %(job_id)s AND user_id = %(user_id)s AND erased_at IS NULL
              AND status IN ('created', 'queued', 'processing')
            RETURNING job_id, lease_token
        ), closed AS (
            UPDATE attempts SET ended_at = now(), outcome = 'canceled'
            FROM canceled
            WHERE attempts.job_id = canceled.job_id AND attempts.attempt = canceled.lease_token AND ended_at IS NULL
        )
        SELECT job_id FROM canceled
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
            UPDATE jobs SET erased_at = now(), lease_until = NULL,
                            finished_at = COALESCE(finished_at, now()),
                            status = CASE WHEN status IN ('succeeded', 'failed') THEN status ELSE 'canceled' END,
                            pipeline = '[]', metadata = '{}', webhook_url = NULL, error = NULL, traceparent = NULL,
                            declared_content_type = NULL, source_sha256 = NULL
            WHERE job_id = %(job_id)s AND user_id = %(user_id)s AND erased_at IS NULL
            RETURNING job_id, lease_token
        ), deleted_events AS (
            DELETE FROM events USING erased WHERE events.job_id = erased.job_id
        ), deleted_outputs AS (
            DELETE FROM outputs USING erased WHERE outputs.job_id = erased.job_id
        ), closed AS (
            UPDATE attempts SET error = NULL, ended_at = COALESCE(ended_at, now()),
                                outcome = COALESCE(outcome, 'canceled')
            FROM erased WHERE attempts.job_id = erased.job_id
        ), files AS (
            INSERT INTO pending_deletions (job_id, kind, attempt, due_at) SELECT job_id, 'job', 0, now() FROM erased
        )
        SELECT job_id FROM erased
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


async def reap_expired(connection: AsyncConnection, *, limit: int, exhausted: str) -> list[ReapedRow]:
    """Requeue jobs whose lease expired, or fail those without attempts left, in one statement.

    The worker that held the lease can't write to the job afterwards: each of its writes requires the status and the
    lease token of its claim.

    Args:
        connection: with a tenant scope of all users.
        limit: maximum number of jobs.
        exhausted: error message of jobs that fail.
    """
    cursor = await connection.execute(
        """
        WITH expired AS (
            SELECT job_id FROM jobs
            WHERE status = 'processing' AND lease_until < now()
            ORDER BY lease_until
            LIMIT %(limit)s
            FOR UPDATE SKIP LOCKED
        ), moved AS (
            UPDATE jobs SET
                status      = CASE WHEN attempts < max_attempts THEN 'queued' ELSE 'failed' END,
                run_at      = CASE WHEN attempts < max_attempts THEN now() ELSE run_at END,
                finished_at = CASE WHEN attempts < max_attempts THEN NULL ELSE now() END,
                error       = CASE WHEN attempts < max_attempts THEN error
                                   ELSE jsonb_build_object('code', 'attempts_exhausted', 'message', %(exhausted)s::text,
                                                           'step_id', NULL)
                              END,
                task_id = gen_random_uuid(), relayed_at = NULL, lease_until = NULL
            FROM expired WHERE jobs.job_id = expired.job_id
            RETURNING jobs.job_id, jobs.user_id, jobs.attempts, jobs.status, jobs.lease_token
        ), closed AS (
            UPDATE attempts SET ended_at = now(), outcome = 'lost'
            FROM moved WHERE attempts.job_id = moved.job_id AND attempts.attempt = moved.lease_token
        )
        SELECT job_id, user_id, lease_token, attempts, status FROM moved
        """,
        {"limit": limit, "exhausted": exhausted},
    )
    return [ReapedRow(**row) for row in await cursor.fetchall()]
