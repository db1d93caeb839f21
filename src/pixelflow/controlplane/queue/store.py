"""What the controller moves: queued rows that no message stands for, and rows whose worker has gone silent.

Rows are taken with ``SKIP LOCKED``, so that several controllers share the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncConnection


@dataclass(frozen=True)
class QueuedRow:
    """A queued row and the message that should stand for it."""

    job_id: UUID
    task_id: UUID
    run_at: datetime
    traceparent: str | None


async def take_unrelayed(connection: AsyncConnection, *, stale: timedelta, limit: int) -> list[QueuedRow]:
    """Due rows whose message was never sent, or not seen for ``stale``; they count as relayed from now on.

    Two questions, each of which ends where its part of the index does: one for both would look at the whole queue.
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
    """Say that the messages of these jobs could not be sent after all; the relay's next round sends them.

    Args:
        connection: where to.
        task_ids: of the messages, by their jobs; a job that has another one by now is left as it is.
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
    """Say that every message is lost: those still there are found to be so, the others sent again."""
    await connection.execute("UPDATE jobs SET relayed_at = NULL WHERE status = 'queued' AND relayed_at IS NOT NULL")
