"""SQL that reads changes of jobs. Never writes.

``jobs.change`` is the transaction that last changed a job. Transactions commit in another order than they are numbered,
so a reader that remembered the largest number would miss some. It remembers a snapshot instead: which transactions it
has seen. What that snapshot does not see is new (PostgreSQL manual, 9.27.8, transaction IDs and snapshots).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncConnection

MAX_CHANGES = 100
"""Changes that one statement returns for one reader; it gets the rest by the next ones."""
MAX_ALL_CHANGES = 2000
"""Changes that one statement returns for all readers, so that many who have missed much delay the others only a little:
those that it does not reach are first the next time."""
MAX_ACTIVE = 200
"""Unfinished jobs with which a stream of all jobs begins: the newest. Clients list the others."""


@dataclass(frozen=True)
class Change:
    """A job as it is after a change."""

    change: int
    """The transaction; 0 if it is older than the records of changes."""
    job_id: UUID
    status: str
    attempts: int
    error: dict[str, Any] | None
    finished_at: datetime | None
    is_erased: bool


@dataclass(frozen=True)
class ReadPosition:
    """What a reader has seen: changes that ``snapshot`` sees and, if a page was too large, the others up to ``after``.

    Immutable: a page that was not delivered is read again.
    """

    snapshot: str
    """Of Postgres, as text. Empty, of one job: nothing; its present state is new."""
    after: tuple[int, UUID] | None = None
    """The last change of an incomplete page, which ``snapshot`` does not see."""
    next_snapshot: str = ""
    """When the first of the incomplete pages was read. Changes between it and a later page may be delivered twice."""

    @property
    def since(self) -> str | None:
        """The first transaction whose changes are read: where the index is entered. ``None``: any."""
        if self.after is not None:
            return str(self.after[0])
        return str(_first_unseen(self.snapshot)) if self.snapshot else None

    @property
    def event_id(self) -> str:
        """The first transaction that a reader at this position may not have seen: changes from it on are read again."""
        if self.after is None:
            return str(_first_unseen(self.snapshot))
        return str(min(self.after[0], _first_unseen(self.next_snapshot)))

    @classmethod
    def of_event_id(cls, event_id: int) -> ReadPosition:
        """The position of a reader that saw all changes before that transaction, and none from it on."""
        return cls(f"{event_id}:{event_id}:")

    def moved(self, changes: Sequence[Change], snapshot: str, *, is_last: bool) -> ReadPosition:
        """The position after this page, the last or not, which a statement with this snapshot returned."""
        if is_last:
            return ReadPosition(self.next_snapshot or snapshot)
        last = changes[-1]
        return ReadPosition(self.snapshot, (last.change, last.job_id), self.next_snapshot or snapshot)


def _first_unseen(snapshot: str) -> int:
    return int(snapshot.partition(":")[0])


@dataclass(frozen=True)
class Reading:
    """What one reader wants to know: the changes of a user's jobs, or of one of them, since a position."""

    user_id: str
    job_id: UUID | None
    position: ReadPosition


@dataclass(frozen=True)
class ChangePage:
    """What a reader is given by one statement."""

    changes: Sequence[Change]
    position: ReadPosition
    """Of the reader, afterwards."""
    is_last: bool
    """Whether there are no more changes."""


_COLUMNS = """
    coalesce(change::text::bigint, 0) AS change, job_id, status, attempts, error, finished_at,
    erased_at IS NOT NULL AS is_erased
"""
_READ = f"""
SELECT now.snapshot::text AS snapshot, found.*
FROM (SELECT pg_current_snapshot() AS snapshot) AS now
LEFT JOIN LATERAL (
    SELECT reader.place, changed.*
    FROM unnest(%(users)s::text[], %(jobs)s::uuid[], %(snapshots)s::text[]::pg_snapshot[],
                %(since)s::text[]::xid8[], %(after)s::text[]::xid8[], %(after_jobs)s::uuid[])
         WITH ORDINALITY AS reader (user_id, job_id, snapshot, since, after, after_job, place)
    CROSS JOIN LATERAL (
        (
            SELECT {_COLUMNS} FROM jobs
            WHERE reader.job_id IS NULL AND user_id = reader.user_id
              AND jobs.change >= reader.since
              AND jobs.change < pg_snapshot_xmax(now.snapshot)
              AND NOT pg_visible_in_snapshot(jobs.change, reader.snapshot)
              AND (reader.after_job IS NULL OR (jobs.change, jobs.job_id) > (reader.after, reader.after_job))
            ORDER BY jobs.change, jobs.job_id LIMIT {MAX_CHANGES}
        ) UNION ALL (
            SELECT {_COLUMNS} FROM jobs
            WHERE jobs.job_id = reader.job_id AND user_id = reader.user_id
              AND (reader.snapshot IS NULL
                   OR (jobs.change < pg_snapshot_xmax(now.snapshot)
                       AND NOT pg_visible_in_snapshot(jobs.change, reader.snapshot)))
        )
    ) AS changed
) AS found ON true
ORDER BY found.place, found.change, found.job_id LIMIT {MAX_ALL_CHANGES}
"""  # noqa: S608  # fixed parts
"""A database that was restored from a dump may hold changes of the future, which are no changes."""


async def read_changes(connection: AsyncConnection, readings: Sequence[Reading]) -> list[ChangePage]:
    """Return the changes of each reading, in the order of the transactions. The first readings are served first.

    The tenant scope must contain the users of all readings. Each reading gets rows of its own user only.
    """
    positions = [reading.position for reading in readings]
    cursor = await connection.execute(
        _READ,
        {
            "users": [reading.user_id for reading in readings],
            "jobs": [reading.job_id for reading in readings],
            "snapshots": [position.snapshot or None for position in positions],
            "since": [position.since for position in positions],
            "after": [str(position.after[0]) if position.after else None for position in positions],
            "after_jobs": [position.after[1] if position.after else None for position in positions],
        },
    )
    changes: list[list[Change]] = [[] for _ in readings]
    rows = await cursor.fetchall()
    for row in rows:
        if row["place"] is not None:
            changes[row["place"] - 1].append(_change(row))
    snapshot, reached = rows[0]["snapshot"], len(readings)
    if len(rows) == MAX_ALL_CHANGES:
        reached = rows[-1]["place"] - 1  # the last one may have been cut off
    return [
        _page(position, found, snapshot, is_last=len(found) < MAX_CHANGES and place < reached)
        for place, (position, found) in enumerate(zip(positions, changes, strict=True))
    ]


def _page(position: ReadPosition, found: Sequence[Change], snapshot: str, *, is_last: bool) -> ChangePage:
    moved = position.moved(found, snapshot, is_last=is_last) if found or is_last else position
    return ChangePage(found, moved, is_last)


async def find(connection: AsyncConnection, *, job_id: UUID, user_id: str) -> Change | None:
    """Return the present state of the user's job, or ``None`` if it does not exist or was erased."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM jobs WHERE job_id = %s AND user_id = %s AND erased_at IS NULL",  # noqa: S608
        (job_id, user_id),
    )
    row = await cursor.fetchone()
    return _change(row) if row else None


async def find_active(connection: AsyncConnection, *, user_id: str) -> tuple[list[Change], str]:
    """Return the user's jobs that are queued or processing, newest first, and the snapshot of the statement."""
    cursor = await connection.execute(
        f"""
        SELECT now.snapshot::text AS snapshot, active.*
        FROM (SELECT pg_current_snapshot() AS snapshot) AS now
        LEFT JOIN LATERAL (
            SELECT {_COLUMNS} FROM jobs
            WHERE user_id = %(user_id)s AND status IN ('queued', 'processing') AND erased_at IS NULL
            ORDER BY created_at DESC LIMIT {MAX_ACTIVE}
        ) AS active ON true
        """,  # noqa: S608  # fixed parts
        {"user_id": user_id},
    )
    rows = await cursor.fetchall()
    return [_change(row) for row in rows if row["job_id"] is not None], rows[0]["snapshot"]


async def newest_transaction(connection: AsyncConnection) -> int:
    """Return the number that the database gives to the next transaction."""
    cursor = await connection.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text AS xmax")
    row = await cursor.fetchone()
    assert row  # noqa: S101  # for the type checker: the statement always returns one
    return int(row["xmax"])


def _change(row: dict[str, Any]) -> Change:
    return Change(**{name: row[name] for name in Change.__dataclass_fields__})


@dataclass(frozen=True)
class ProgressRow:
    """How far the present attempt of a job is."""

    attempts: int
    stage: str
    percent: int | None
    """Of the stage; ``None``: unknown."""


async def find_progress(connection: AsyncConnection, job_ids: Iterable[UUID]) -> dict[UUID, ProgressRow]:
    """Return the progress of those jobs that a worker processes and has reported about."""
    cursor = await connection.execute(
        """
        SELECT job_id, attempts, stage, percent FROM job_queue AS queue JOIN jobs USING (job_id)
        WHERE job_id = ANY(%s) AND lease_until IS NOT NULL AND progress_token = queue.lease_token AND stage IS NOT NULL
        """,
        (list(job_ids),),
    )
    return {row.pop("job_id"): ProgressRow(**row) for row in await cursor.fetchall()}
