"""How many there are: what the controller tells of the database in its metrics. Changes nothing.

What is asked every few seconds is found by partial indexes, however many jobs are over. What has to go through an index
of all jobs, or a day's usage, is asked by the minute; each question ends in its time, however large the tables are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pixelflow.adapters.postgres.database import AsyncConnection


@asynccontextmanager
async def with_statement_timeout(connection: AsyncConnection, *, seconds: float) -> AsyncIterator[None]:
    """Statements within end after so long, and then the connection tells that the store is unavailable."""
    async with connection.transaction():
        await connection.execute("SELECT set_config('statement_timeout', %s, true)", (f"{round(seconds * 1000)}ms",))
        yield


@dataclass(frozen=True)
class WaitingRow:
    """How many wait, and for how long the first of them has been due, in seconds."""

    count: int
    oldest_seconds: float


async def count_queued(connection: AsyncConnection) -> WaitingRow:
    """Queued jobs, due or not, and the longest due of them."""
    return await _waiting(
        connection,
        """
        SELECT count(*) AS count,
               coalesce(greatest(0, extract(epoch FROM now() - min(run_at))), 0)::float8 AS oldest_seconds
        FROM jobs WHERE status = 'queued'
        """,
    )


async def count_processing(connection: AsyncConnection) -> int:
    """Jobs in workers' hands."""
    cursor = await connection.execute("SELECT count(*) FROM jobs WHERE status = 'processing'")
    row = await cursor.fetchone()
    return row["count"] if row else 0


async def count_pending_events(connection: AsyncConnection) -> WaitingRow:
    """Events that are not delivered, and the longest overdue of those that no courier has in hand."""
    return await _waiting(
        connection,
        """
        SELECT count(*) AS count,
               coalesce(extract(epoch FROM now() - min(next_try_at) FILTER (
                   WHERE next_try_at <= now() AND (lease_until IS NULL OR lease_until <= now()))), 0)::float8
                   AS oldest_seconds
        FROM events WHERE status = 'pending'
        """,
    )


async def _waiting(connection: AsyncConnection, query: str) -> WaitingRow:
    cursor = await connection.execute(query)
    row = await cursor.fetchone()
    return WaitingRow(**row) if row else WaitingRow(0, 0.0)


async def count_by_status(connection: AsyncConnection) -> dict[str, int]:
    """All jobs; those that were erased count until they are gone for good."""
    cursor = await connection.execute("SELECT status, count(*) FROM jobs GROUP BY status")
    return {row["status"]: row["count"] for row in await cursor.fetchall()}


async def count_active_users(connection: AsyncConnection) -> int:
    """Users that created a job within a day.

    Goes from user to user through an index, as ``events.take_due`` goes from host to host: there are far fewer of them
    than jobs.
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
    """Pixels that were made for each of those users within a day for whom there were most."""
    cursor = await connection.execute(
        """
        SELECT user_id, sum(pixels_processed)::bigint AS pixels FROM usage_logs
        WHERE created_at > now() - interval '1 day'
        GROUP BY user_id ORDER BY pixels DESC, user_id LIMIT %s
        """,
        (limit,),
    )
    return {row["user_id"]: row["pixels"] for row in await cursor.fetchall()}
