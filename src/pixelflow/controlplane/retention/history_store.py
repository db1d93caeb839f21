"""Rows that tell of what is over: events with their deliveries, and attempts. Forgotten when they are old."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from pixelflow.adapters.postgres.database import AsyncConnection


@dataclass(frozen=True)
class ForgottenEvents:
    """How many rows went."""

    events: int
    deliveries: int


async def delete_events(connection: AsyncConnection, *, age: timedelta, limit: int) -> ForgottenEvents:
    """Forget events, at most ``limit``, that are over and were last due ``age`` ago, with every try at them."""
    cursor = await connection.execute(
        """
        WITH due AS (
            SELECT event_id FROM events WHERE status <> 'pending' AND next_try_at <= now() - %(age)s
            ORDER BY next_try_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        ), tries AS (
            DELETE FROM deliveries USING due WHERE deliveries.event_id = due.event_id RETURNING 1
        ), gone AS (
            DELETE FROM events USING due WHERE events.event_id = due.event_id RETURNING 1
        )
        SELECT (SELECT count(*) FROM gone) AS events, (SELECT count(*) FROM tries) AS deliveries
        """,
        {"age": age, "limit": limit},
    )
    row = await cursor.fetchone()
    return ForgottenEvents(**row) if row else ForgottenEvents(0, 0)


async def delete_attempts(connection: AsyncConnection, *, age: timedelta, limit: int) -> int:
    """Forget attempts, at most ``limit``, that are over and began ``age`` ago; no file is found by them."""
    cursor = await connection.execute(
        """
        WITH due AS (
            SELECT job_id, attempt FROM attempts WHERE started_at <= now() - %(age)s AND ended_at IS NOT NULL
            ORDER BY started_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        )
        DELETE FROM attempts USING due WHERE (attempts.job_id, attempts.attempt) = (due.job_id, due.attempt)
        """,
        {"age": age, "limit": limit},
    )
    return cursor.rowcount
