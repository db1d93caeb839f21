"""SQL of batches. Every function is restricted to the batches of ``user_id``, except the one that deletes old ones."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from pixelflow.adapters.postgres.database import AsyncConnection

_SUMMARY = "batch_id, name, job->>'preset' AS preset, created_at, canceled_at"


@dataclass(frozen=True)
class BatchSummaryRow:
    """A batch, without what its jobs have in common."""

    batch_id: UUID
    name: str | None
    preset: str | None
    created_at: datetime
    canceled_at: datetime | None


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


async def set_canceled(connection: AsyncConnection, *, batch_id: UUID, user_id: str) -> bool:
    """Note that the batch takes no more jobs; returns whether it exists. Idempotent."""
    cursor = await connection.execute(
        "UPDATE batches SET canceled_at = coalesce(canceled_at, now()) WHERE batch_id = %s AND user_id = %s",
        (batch_id, user_id),
    )
    return cursor.rowcount > 0


async def is_canceled(connection: AsyncConnection, *, batch_id: UUID, user_id: str) -> bool:
    """Return whether the batch takes no more jobs."""
    cursor = await connection.execute(
        "SELECT FROM batches WHERE batch_id = %s AND user_id = %s AND canceled_at IS NOT NULL", (batch_id, user_id)
    )
    return await cursor.fetchone() is not None


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
    """Delete the user's batch, not its jobs; returns whether it existed."""
    cursor = await connection.execute("DELETE FROM batches WHERE batch_id = %s AND user_id = %s", (batch_id, user_id))
    return cursor.rowcount > 0


async def delete_old(connection: AsyncConnection, *, age: timedelta, limit: int) -> int:
    """Delete at most ``limit`` batches of all users that are so old and have no jobs; returns how many."""
    cursor = await connection.execute(
        """
        WITH due AS (
            SELECT batch_id FROM batches
            WHERE created_at <= now() - %(age)s
              AND NOT EXISTS (SELECT FROM jobs
                              WHERE jobs.user_id = batches.user_id AND jobs.batch_id = batches.batch_id)
            ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        )
        DELETE FROM batches USING due WHERE batches.batch_id = due.batch_id
        """,
        {"age": age, "limit": limit},
    )
    return cursor.rowcount
