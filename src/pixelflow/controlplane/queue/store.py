"""SQL of the relay: queued jobs whose message is missing.

Rows are locked with ``SKIP LOCKED``, so that several controllers share the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncConnection


@dataclass(frozen=True)
class QueuedRow:
    """A queued job and the ID of its message."""

    job_id: UUID
    task_id: UUID
    run_at: datetime
    traceparent: str | None


async def take_unrelayed(connection: AsyncConnection, *, stale: timedelta, limit: int) -> list[QueuedRow]:
    """Return due jobs whose message was never sent, or not seen for ``stale``, and mark them as relayed.

    Two subqueries, each of which ends where its range of the index does: a single one would scan the whole queue.
    """
    cursor = await connection.execute(
        """
        WITH never_sent AS (
            SELECT job_id FROM jobs
            WHERE status = 'queued' AND relayed_at IS NULL AND run_at <= now()
            ORDER BY run_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        ), not_seen AS (
            SELECT job_id FROM jobs
            WHERE status = 'queued' AND relayed_at < now() - %(stale)s AND run_at <= now()
            ORDER BY relayed_at LIMIT %(limit)s - (SELECT count(*) FROM never_sent) FOR UPDATE SKIP LOCKED
        ), due AS (
            SELECT job_id FROM never_sent UNION ALL SELECT job_id FROM not_seen
        )
        UPDATE jobs SET relayed_at = now() FROM due WHERE jobs.job_id = due.job_id
        RETURNING jobs.job_id, task_id, run_at, traceparent
        """,
        {"stale": stale, "limit": limit},
    )
    return sorted((QueuedRow(**row) for row in await cursor.fetchall()), key=lambda row: row.run_at)


async def unsend(connection: AsyncConnection, task_ids: Mapping[UUID, UUID]) -> None:
    """Mark the messages of these jobs as not sent; the relay's next tick sends them.

    Args:
        connection: scoped to the owner of the jobs, or to all users.
        task_ids: message IDs by job ID; a job that has another message by now is not changed.
    """
    await connection.execute(
        """
        UPDATE jobs SET relayed_at = NULL
        FROM unnest(%s::uuid[], %s::uuid[]) AS unsent (job_id, task_id)
        WHERE jobs.job_id = unsent.job_id AND jobs.task_id = unsent.task_id AND status = 'queued'
        """,
        (list(task_ids), list(task_ids.values())),
    )


async def unsend_all(connection: AsyncConnection) -> None:
    """Mark all messages as not sent; the relay looks each up, and sends those that Redis does not have."""
    await connection.execute("UPDATE jobs SET relayed_at = NULL WHERE status = 'queued' AND relayed_at IS NOT NULL")
