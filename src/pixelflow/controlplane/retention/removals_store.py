"""Files that are to be removed, each written down before it is and struck out afterwards. For the remover.

A row is taken with a due time in the near future, so that whoever dies over it leaves it due again. No row stands for a
file that a job may still need: ``expiry`` and the trigger on ``attempts`` write down what can't come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncConnection


@dataclass(frozen=True)
class Removal:
    """A source, or what an attempt has stored."""

    job_id: UUID
    kind: str
    attempt: int
    source_type: str
    source_key: str
    output_keys: list[str]
    """Of the outputs that the job has, if they are what is to be removed."""


async def take(connection: AsyncConnection, *, patience: timedelta, limit: int) -> list[Removal]:
    """What is due, the longest due first; what is not struck out by then is due again after ``patience``."""
    cursor = await connection.execute(
        """
        WITH due AS (
            SELECT job_id, kind, attempt FROM removals WHERE due_at <= now()
            ORDER BY due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        )
        UPDATE removals SET due_at = now() + %(patience)s
        FROM due JOIN jobs ON jobs.job_id = due.job_id
        WHERE (removals.job_id, removals.kind, removals.attempt) = (due.job_id, due.kind, due.attempt)
        RETURNING removals.job_id, removals.kind, removals.attempt, source_type, source_key,
                  ARRAY(SELECT object_key FROM outputs
                        WHERE outputs.job_id = removals.job_id AND removals.kind = 'output') AS output_keys
        """,
        {"patience": patience, "limit": limit},
    )
    return [Removal(**row) for row in await cursor.fetchall()]


async def strike_out(connection: AsyncConnection, removals: Sequence[Removal]) -> None:
    """Say that these files are gone; once more changes nothing."""
    await connection.execute(
        """
        DELETE FROM removals USING unnest(%(job_ids)s::uuid[], %(kinds)s::text[], %(attempts)s::bigint[])
            AS gone (job_id, kind, attempt)
        WHERE (removals.job_id, removals.kind, removals.attempt) = (gone.job_id, gone.kind, gone.attempt)
        """,
        {
            "job_ids": [removal.job_id for removal in removals],
            "kinds": [removal.kind for removal in removals],
            "attempts": [removal.attempt for removal in removals],
        },
    )
