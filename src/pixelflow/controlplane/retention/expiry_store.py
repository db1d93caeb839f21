"""What of jobs is no longer to be kept, found by age: for everybody's jobs, some at a time.

Each function is one statement, so that a file is gone for its job's owner and written down in ``removals`` at the same
moment. Rows are taken with ``SKIP LOCKED``: who moves a job meanwhile goes first, and several controllers share the
work.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncConnection


async def expire_sources(connection: AsyncConnection, *, age: timedelta, limit: int) -> int:
    """Give up the uploaded sources of jobs that ended ``age`` ago; returns how many.

    None of these jobs can be queued any more: ``transitions.queue`` asks whether the source has expired.
    """
    cursor = await connection.execute(
        """
        WITH due AS (
            SELECT job_id FROM jobs
            WHERE finished_at <= now() - %(age)s AND source_expired_at IS NULL AND erased_at IS NULL
              AND source_type = 's3_presigned'
            ORDER BY finished_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        ), expired AS (
            UPDATE jobs SET source_expired_at = now() FROM due WHERE jobs.job_id = due.job_id RETURNING jobs.job_id
        )
        INSERT INTO removals (job_id, kind, attempt, due_at) SELECT job_id, 'source', 0, now() FROM expired
        """,
        {"age": age, "limit": limit},
    )
    return cursor.rowcount


async def expire_outputs(connection: AsyncConnection, *, age: timedelta, limit: int) -> int:
    """Give up the outputs of jobs that succeeded ``age`` ago; returns of how many."""
    cursor = await connection.execute(
        """
        WITH due AS (
            SELECT job_id FROM jobs
            WHERE finished_at <= now() - %(age)s AND outputs_expired_at IS NULL AND erased_at IS NULL
              AND status = 'succeeded'
            ORDER BY finished_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        ), expired AS (
            UPDATE jobs SET outputs_expired_at = now() FROM due WHERE jobs.job_id = due.job_id
            RETURNING jobs.job_id, lease_token
        )
        INSERT INTO removals (job_id, kind, attempt, due_at) SELECT job_id, 'output', lease_token, now() FROM expired
        """,
        {"age": age, "limit": limit},
    )
    return cursor.rowcount


@dataclass(frozen=True)
class NeverStarted:
    """A job that its owner has created and left."""

    job_id: UUID
    user_id: str


async def lock_never_started(connection: AsyncConnection, *, age: timedelta, limit: int) -> list[NeverStarted]:
    """Jobs that were created ``age`` ago and never started, held until the transaction ends."""
    cursor = await connection.execute(
        """
        SELECT job_id, user_id FROM jobs WHERE status = 'created' AND created_at <= now() - %(age)s
        ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        """,
        {"age": age, "limit": limit},
    )
    return [NeverStarted(**row) for row in await cursor.fetchall()]


async def delete_jobs(connection: AsyncConnection, *, age: timedelta, limit: int) -> int:
    """Forget jobs that ended ``age`` ago, once none of their files is left and nobody is to be told any more.

    What they are billed by stays. Returns how many.
    """
    cursor = await connection.execute(
        """
        WITH due AS (
            SELECT job_id FROM jobs
            WHERE finished_at <= now() - %(age)s AND erased_at IS NULL
              AND (source_expired_at IS NOT NULL OR source_type = 'local_file')
              AND (outputs_expired_at IS NOT NULL OR status <> 'succeeded')
              AND NOT EXISTS (SELECT FROM removals WHERE removals.job_id = jobs.job_id)
              AND NOT EXISTS (SELECT FROM events WHERE events.job_id = jobs.job_id AND events.status = 'pending')
            ORDER BY finished_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        )
        DELETE FROM jobs USING due WHERE jobs.job_id = due.job_id
        """,
        {"age": age, "limit": limit},
    )
    return cursor.rowcount
