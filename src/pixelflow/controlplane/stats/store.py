"""SQL that counts rows for the metrics, and the lease of the controller that counts. Writes nothing else.

Statements that run every few seconds use partial indexes, so that their cost does not depend on finished jobs.
Statements that scan an index of all jobs, or a day of usage, run every minute. Each has a timeout, however large the
tables are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncConnection


@asynccontextmanager
async def with_statement_timeout(connection: AsyncConnection, *, seconds: float) -> AsyncIterator[None]:
    """Cancel statements inside that run longer; the connection then raises ``StoreUnavailableError``."""
    async with connection.transaction():
        await connection.execute("SELECT set_config('statement_timeout', %s, true)", (f"{round(seconds * 1000)}ms",))
        yield


async def acquire_lease(connection: AsyncConnection, *, holder: UUID, lease: timedelta) -> bool:
    """Acquire or renew the lease of the one controller that counts; returns whether ``holder`` has it.

    A row, because an advisory lock of a session can't be held through a pooler that shares sessions.
    """
    cursor = await connection.execute(
        """
        INSERT INTO controller_leases AS current (name, holder, lease_until)
        VALUES ('stats', %(holder)s, now() + %(lease)s)
        ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, lease_until = excluded.lease_until
        WHERE current.holder = excluded.holder OR current.lease_until <= now()
        RETURNING holder
        """,
        {"holder": holder, "lease": lease},
    )
    return await cursor.fetchone() is not None


@dataclass(frozen=True)
class BacklogRow:
    """How many rows wait, and for how many seconds the oldest of them has been due."""

    count: int
    oldest_seconds: float


async def count_queued(connection: AsyncConnection) -> BacklogRow:
    """Count queued jobs, due or not."""
    return await _backlog(
        connection,
        """
        SELECT count(*) AS count,
               coalesce(greatest(0, extract(epoch FROM now() - min(due_at))), 0)::float8 AS oldest_seconds
        FROM job_queue WHERE state IN ('waiting', 'delayed')
        """,
    )


async def count_processing(connection: AsyncConnection) -> int:
    """Count jobs that workers process."""
    cursor = await connection.execute("SELECT count(*) FROM job_queue WHERE state = 'active'")
    row = await cursor.fetchone()
    return row["count"] if row else 0


async def count_unclaimable(connection: AsyncConnection) -> dict[str, int]:
    """Count waiting jobs that no live worker can process, by each capability that is missing."""
    cursor = await connection.execute(
        """
        SELECT missing, sum(waiting)::bigint AS jobs
        FROM (
            SELECT requirement_id, sum(waiting) AS waiting FROM queue_lanes WHERE busy GROUP BY requirement_id
        ) AS lanes
        JOIN requirement_sets USING (requirement_id)
        CROSS JOIN LATERAL unnest(missing_capabilities(requires)) AS missing
        WHERE waiting > 0
        GROUP BY missing
        """
    )
    return {row["missing"]: row["jobs"] for row in await cursor.fetchall()}


async def count_pending_events(connection: AsyncConnection) -> BacklogRow:
    """Count events that await delivery; the age is that of the longest overdue one that no dispatcher has leased."""
    return await _backlog(
        connection,
        """
        SELECT count(*) AS count,
               coalesce(extract(epoch FROM now() - min(next_attempt_at) FILTER (
                   WHERE next_attempt_at <= now() AND (lease_until IS NULL OR lease_until <= now()))), 0)::float8
                   AS oldest_seconds
        FROM events WHERE status = 'pending'
        """,
    )


async def _backlog(connection: AsyncConnection, query: str) -> BacklogRow:
    cursor = await connection.execute(query)
    row = await cursor.fetchone()
    return BacklogRow(**row) if row else BacklogRow(0, 0.0)


async def count_by_status(connection: AsyncConnection) -> dict[str, int]:
    """Count all jobs by status; erased jobs count until their rows are deleted."""
    cursor = await connection.execute("SELECT status, count(*) FROM jobs GROUP BY status")
    return {row["status"]: row["count"] for row in await cursor.fetchall()}


async def count_active_users(connection: AsyncConnection) -> int:
    """Count users that created a job within the last 24 hours.

    Uses a loose index scan over users, like ``webhooks.due_events.visit``: users are far fewer than jobs.
    """
    cursor = await connection.execute(
        """
        WITH RECURSIVE users AS (
            (SELECT user_id FROM jobs ORDER BY user_id LIMIT 1)
            UNION ALL
            SELECT (SELECT jobs.user_id FROM jobs WHERE jobs.user_id > users.user_id ORDER BY jobs.user_id LIMIT 1)
            FROM users WHERE users.user_id IS NOT NULL
        )
        SELECT count(*) FROM users
        WHERE EXISTS (SELECT FROM jobs WHERE jobs.user_id = users.user_id AND created_at > now() - interval '1 day')
        """
    )
    row = await cursor.fetchone()
    return row["count"] if row else 0


async def top_users(connection: AsyncConnection, *, limit: int) -> dict[str, int]:
    """Return the pixels processed within the last 24 hours by user, for the users with most."""
    cursor = await connection.execute(
        """
        SELECT user_id, sum(pixels_processed)::bigint AS pixels FROM usage_logs
        WHERE created_at > now() - interval '1 day'
        GROUP BY user_id ORDER BY pixels DESC, user_id LIMIT %s
        """,
        (limit,),
    )
    return {row["user_id"]: row["pixels"] for row in await cursor.fetchall()}
