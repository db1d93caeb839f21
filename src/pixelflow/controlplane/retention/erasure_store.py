"""Tombstones: jobs whose owner erased them and whose files are still to be removed. For the pruner."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncConnection


@dataclass(frozen=True)
class Tombstone:
    """An erased job."""

    job_id: UUID
    source_type: str
    source_key: str
    erased_at: datetime


async def take(connection: AsyncConnection, *, patience: timedelta, limit: int) -> list[Tombstone]:
    """Tombstones whose files are due to be removed; a pruner that dies over them leaves them due after ``patience``."""
    cursor = await connection.execute(
        """
        WITH due AS (
            SELECT job_id FROM jobs WHERE purge_at <= now() ORDER BY purge_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        )
        UPDATE jobs SET purge_at = now() + %(patience)s FROM due WHERE jobs.job_id = due.job_id
        RETURNING jobs.job_id, source_type, source_key, erased_at
        """,
        {"patience": patience, "limit": limit},
    )
    return [Tombstone(**row) for row in await cursor.fetchall()]


async def postpone(connection: AsyncConnection, job_id: UUID, *, until: datetime) -> None:
    """Have the files removed once more: what may still arrive by then is not to stay.

    Never earlier than ``take`` has put it: a caller whose clock is behind the database's would else take it at once.
    """
    await connection.execute(
        "UPDATE jobs SET purge_at = greatest(purge_at, %s) WHERE job_id = %s AND erased_at IS NOT NULL",
        (until, job_id),
    )


async def remove(connection: AsyncConnection, job_id: UUID) -> None:
    """Remove the tombstone itself; what the job is billed by stays."""
    await connection.execute("DELETE FROM jobs WHERE job_id = %s AND erased_at IS NOT NULL", (job_id,))
