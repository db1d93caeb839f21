"""What an owner does to a job: start it, try it again, cancel it, erase it.

As in ``jobs``: every function takes the owner's ``user_id`` and touches nothing beyond it.
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
    """Where a job stands, and what has to be known to move it."""

    status: str
    source_type: str
    source_key: str
    task_id: UUID | None
    queued_at: datetime | None
    source_expired_at: datetime | None


async def find(connection: AsyncConnection, *, job_id: UUID, user_id: str) -> JobState | None:
    """Where the user's job of that id stands."""
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
    """Move the user's job to ``queued`` and return when.

    ``None``: it is in none of the statuses ``moved_from``, has another source than the one that was looked at, or one
    that has expired.

    The row counts as relayed from the start: the caller sends the message at once; ``dispatch.unsend`` says if it
    could not.
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
    """Wait for whoever is writing the job, so that the next statement sees what they wrote beside its row.

    A statement that itself waits for a row sees that row as it then is, but all else as it was when it began
    (PostgreSQL 13.2.1, Read Committed).
    """
    await connection.execute("SELECT FROM jobs WHERE job_id = %s AND user_id = %s FOR UPDATE", (job_id, user_id))


async def cancel(connection: AsyncConnection, *, job_id: UUID, user_id: str) -> bool:
    """Cancel the user's job if it is not over; its worker learns of it when it renews its lease. In a transaction."""
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
    """Make the user's job a tombstone: over, without anything personal, invisible, its files to be removed at once.

    In a transaction.
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
        ), told AS (
            DELETE FROM events USING erased WHERE events.job_id = erased.job_id
        ), kept AS (
            DELETE FROM outputs USING erased WHERE outputs.job_id = erased.job_id
        ), tried AS (
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
    """A row that was taken back from a silent worker, and where it stands now."""

    job_id: UUID
    user_id: str
    lease_token: int
    """Of the attempt that ended by it."""
    attempts: int
    status: str


async def reap_expired(connection: AsyncConnection, *, limit: int, exhausted: str) -> list[ReapedRow]:
    """Give rows whose lease ran out back to the queue, or fail those that have no attempts left.

    One statement. The worker that held the lease can write nothing any more: its every write asks for the status and
    token that it was given.

    Args:
        connection: where to.
        limit: rows at most.
        exhausted: the sentence that the owner of a failed job reads.
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
