"""SQL of batches. Every function is restricted to the batches of ``user_id``, except those that serve the controller.

A closed batch takes no more jobs: ``jobs.store.insert`` locks the batch. Triggers create its events.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from pixelflow.adapters.postgres.database import AsyncConnection

_SUMMARY = """
    batch_id, name, job->>'preset' AS preset, created_at, canceled_at, coalesce(closed_at, canceled_at) AS closed_at,
    finished_at
"""
SHORTEST_CHECK, LONGEST_CHECK = timedelta(seconds=1), timedelta(minutes=5)
"""Time until the next check of a batch that has not finished."""


@dataclass(frozen=True)
class BatchSummaryRow:
    """A batch, without what its jobs have in common."""

    batch_id: UUID
    name: str | None
    preset: str | None
    created_at: datetime
    canceled_at: datetime | None
    closed_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True)
class BatchRow(BatchSummaryRow):
    """A batch."""

    job: dict[str, Any]
    """The request that all jobs begin with: up to 128 KiB, so a list is without it."""


async def insert(
    connection: AsyncConnection, *, batch_id: UUID, user_id: str, name: str | None, job: dict[str, Any]
) -> None:
    """Insert a batch. Has no effect if it exists."""
    await connection.execute(
        "INSERT INTO batches (batch_id, user_id, name, job) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (batch_id, user_id, name, Jsonb(job)),
    )


async def find(connection: AsyncConnection, *, batch_id: UUID, user_id: str) -> BatchRow | None:
    """Return the user's batch."""
    cursor = await connection.execute(
        f"SELECT {_SUMMARY}, job FROM batches WHERE batch_id = %s AND user_id = %s",  # noqa: S608  # fixed columns
        (batch_id, user_id),
    )
    row = await cursor.fetchone()
    return BatchRow(**row) if row else None


async def list_newest(
    connection: AsyncConnection, *, user_id: str, limit: int, before: tuple[datetime, UUID] | None
) -> list[BatchSummaryRow]:
    """Return the user's batches, newest first, after ``before`` (exclusive)."""
    created_at, batch_id = before or (None, None)
    condition = "AND (created_at, batch_id) < (%(created_at)s, %(batch_id)s)" if before else ""
    cursor = await connection.execute(
        f"""
        SELECT {_SUMMARY} FROM batches WHERE user_id = %(user_id)s {condition}
        ORDER BY created_at DESC, batch_id DESC LIMIT %(limit)s
        """,  # noqa: S608  # fixed columns and conditions
        {"user_id": user_id, "created_at": created_at, "batch_id": batch_id, "limit": limit},
    )
    return [BatchSummaryRow(**row) for row in await cursor.fetchall()]


async def count_jobs(connection: AsyncConnection, *, batch_id: UUID, user_id: str) -> dict[str, int]:
    """Return the number of jobs by status."""
    cursor = await connection.execute(
        "SELECT status, count(*) AS jobs FROM jobs WHERE user_id = %s AND batch_id = %s GROUP BY status",
        (user_id, batch_id),
    )
    return {row["status"]: row["jobs"] for row in await cursor.fetchall()}


async def list_new(
    connection: AsyncConnection, *, batch_id: UUID, user_id: str, job_ids: Collection[UUID]
) -> list[UUID]:
    """Return those of the IDs that no job of the batch has."""
    cursor = await connection.execute(
        """
        SELECT job_id FROM unnest(%(job_ids)s::uuid[]) AS wanted (job_id)
        WHERE NOT EXISTS (SELECT FROM jobs WHERE jobs.job_id = wanted.job_id AND user_id = %(user_id)s
                                             AND batch_id = %(batch_id)s)
        """,
        {"job_ids": list(job_ids), "user_id": user_id, "batch_id": batch_id},
    )
    return [row["job_id"] for row in await cursor.fetchall()]


async def close(connection: AsyncConnection, *, batch_id: UUID, user_id: str) -> None:
    """Let the batch take no more jobs; it is checked at once. Has no effect if it is closed or does not exist."""
    await connection.execute(
        """
        UPDATE batches SET closed_at = coalesce(canceled_at, now()), next_check_at = now()
        WHERE batch_id = %s AND user_id = %s AND closed_at IS NULL
        """,
        (batch_id, user_id),
    )


async def set_canceled(connection: AsyncConnection, *, batch_id: UUID, user_id: str) -> bool:
    """Let the batch take no more jobs, as a canceled one; returns whether it exists. Idempotent."""
    cursor = await connection.execute(
        """
        UPDATE batches SET canceled_at = coalesce(canceled_at, now()), closed_at = coalesce(closed_at, now()),
                           next_check_at = now()
        WHERE batch_id = %s AND user_id = %s
        """,
        (batch_id, user_id),
    )
    return cursor.rowcount > 0


async def list_unfinished(connection: AsyncConnection, *, batch_id: UUID, user_id: str, limit: int) -> list[UUID]:
    """Return IDs of jobs of the batch that have not finished: waiting ones first, so that they don't begin."""
    found: list[UUID] = []
    for status in ("queued", "created", "processing"):
        cursor = await connection.execute(
            "SELECT job_id FROM jobs WHERE user_id = %s AND batch_id = %s AND status = %s LIMIT %s",
            (user_id, batch_id, status, limit - len(found)),
        )
        found += [row["job_id"] for row in await cursor.fetchall()]
    return found


async def delete(connection: AsyncConnection, *, batch_id: UUID, user_id: str) -> bool:
    """Delete the user's batch and its events, not its jobs; returns whether it existed."""
    cursor = await connection.execute("DELETE FROM batches WHERE batch_id = %s AND user_id = %s", (batch_id, user_id))
    return cursor.rowcount > 0


async def delete_old(connection: AsyncConnection, *, age: timedelta, limit: int) -> int:
    """Delete at most ``limit`` batches that are so old and have no jobs and no pending events; returns how many."""
    cursor = await connection.execute(
        """
        WITH due AS (
            SELECT batch_id FROM batches
            WHERE created_at <= now() - %(age)s
              AND NOT EXISTS (SELECT FROM jobs
                              WHERE jobs.user_id = batches.user_id AND jobs.batch_id = batches.batch_id)
              AND NOT EXISTS (SELECT FROM events WHERE events.batch_id = batches.batch_id AND status = 'pending')
            ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        )
        DELETE FROM batches WHERE batch_id = ANY (ARRAY(SELECT batch_id FROM due))
        """,
        {"age": age, "limit": limit},
    )
    return cursor.rowcount


@dataclass(frozen=True)
class CheckedBatch:
    """A closed batch that was due for a check."""

    batch_id: UUID
    user_id: str
    is_finished: bool


async def finish_due(connection: AsyncConnection, *, limit: int) -> list[CheckedBatch]:
    """Check at most ``limit`` closed batches of all users that are due; finish those whose jobs have all ended.

    A batch that is locked is left out. Only batches that were closed when the statement began are checked, and by then
    all of their jobs were committed. The trigger on ``finished_at`` creates the events in the same statement. The next
    check of a batch with a job in progress is due shortly; of others, the later, the longer they have been closed.
    """
    cursor = await connection.execute(
        """
        WITH due AS MATERIALIZED (
            SELECT batch_id, user_id FROM batches
            WHERE closed_at IS NOT NULL AND finished_at IS NULL AND next_check_at <= now()
            ORDER BY next_check_at LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
        ), checked AS MATERIALIZED (
            SELECT batch_id,
                   EXISTS (SELECT FROM jobs WHERE jobs.user_id = due.user_id AND jobs.batch_id = due.batch_id
                                              AND status = 'processing') AS is_active,
                   EXISTS (SELECT FROM jobs WHERE jobs.user_id = due.user_id AND jobs.batch_id = due.batch_id
                                              AND status IN ('created', 'queued')) AS is_waiting
            FROM due
        )
        UPDATE batches
        SET finished_at = CASE WHEN NOT is_active AND NOT is_waiting THEN now() END,
            next_check_at = now() + CASE WHEN is_active THEN %(shortest)s::interval
                ELSE least(greatest((now() - coalesce(canceled_at, closed_at)) / 4, %(shortest)s::interval),
                           %(longest)s::interval) END
        FROM checked WHERE batches.batch_id = checked.batch_id
        RETURNING batches.batch_id, user_id, finished_at IS NOT NULL AS is_finished
        """,
        {"limit": limit, "shortest": SHORTEST_CHECK, "longest": LONGEST_CHECK},
    )
    return [CheckedBatch(**row) for row in await cursor.fetchall()]


async def check_ended(connection: AsyncConnection, *, batch_ids: Collection[UUID]) -> None:
    """Let those of the batches be checked at once whose jobs have all ended. One that is locked is left out."""
    await connection.execute(
        """
        UPDATE batches SET next_check_at = now()
        FROM (SELECT batch_id FROM batches
              WHERE batch_id = ANY(%s) AND finished_at IS NULL AND next_check_at > now()
                AND NOT EXISTS (SELECT FROM jobs
                                WHERE jobs.user_id = batches.user_id AND jobs.batch_id = batches.batch_id
                                  AND status IN ('created', 'queued', 'processing'))
              FOR NO KEY UPDATE SKIP LOCKED) AS ended
        WHERE batches.batch_id = ended.batch_id
        """,
        (list(batch_ids),),
    )
