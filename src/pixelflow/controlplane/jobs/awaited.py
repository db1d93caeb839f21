"""SQL of the sources that controllers wait for: those of jobs that start by themselves.

A source is leased by moving its next check ahead, so nothing is locked while it is checked. Checks are chosen in turns
of users. What a controller reads to choose is bounded: it depends neither on the number of awaited sources nor on that
of users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncConnection
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.sources import SourceType
from pixelflow.controlplane.jobs.store import Waiting
from pixelflow.settings import Settings

DUE_WINDOW = 256
"""Due checks whose users are looked at, the longest due first. If they fill the window, other users are visited too."""
VISITED_USERS = 64
FIRST_CHECK = timedelta(seconds=0.5)
"""After the creation of a job with an upload."""
MIN_INTERVAL, MAX_INTERVAL = timedelta(seconds=0.5), timedelta(minutes=5)
"""Of two checks of a source. In between, a tenth of the time since the job's creation: an upload that took long may
start its job a little later."""
_WAITED_SHARE = 10
_MIN_OF_USER = 4
"""Due checks of a user that are read at least; with few users, enough of each to fill a lease."""
RETRY_INTERVAL = timedelta(seconds=2)
"""After a check that could not be made."""


def waiting_for(request: CreateJobRequest, settings: Settings, traceparent: str | None) -> Waiting:
    """Return how the source of a new job is awaited: an upload until no more can arrive; any other is there already."""
    is_upload = request.source_type is SourceType.S3_PRESIGNED
    return Waiting(FIRST_CHECK if is_upload else timedelta(0), settings.upload_grace, traceparent)


async def renew(connection: AsyncConnection, *, job_id: UUID, user_id: str, waiting: Waiting) -> None:
    """Wait for the source of the user's job as if it were new, because it has a new upload URL."""
    await connection.execute(
        """
        INSERT INTO awaited_sources (job_id, user_id, awaited_until, next_check_at, traceparent)
        SELECT job_id, user_id, now() + %(longest)s, now() + %(first_check)s, %(traceparent)s FROM jobs
        WHERE job_id = %(job_id)s AND user_id = %(user_id)s AND status = 'created'
        ON CONFLICT (job_id) DO UPDATE
        SET awaited_since = now(), awaited_until = excluded.awaited_until, next_check_at = excluded.next_check_at
        """,
        {"job_id": job_id, "user_id": user_id, **vars(waiting)},
    )


@dataclass(frozen=True)
class AwaitedSource:
    """A source that a controller checks now."""

    job_id: UUID
    user_id: str
    status: str
    """Of the job."""
    source_type: str
    source_key: str
    traceparent: str | None
    is_in_parts: bool
    """Whether the source is uploaded in parts."""


async def longest_due(connection: AsyncConnection) -> tuple[list[str], bool]:
    """Return the users of the checks that are due the longest, and whether there are more checks than were read."""
    cursor = await connection.execute(
        """
        SELECT user_id, count(*) AS checks FROM (
            SELECT user_id FROM awaited_sources WHERE next_check_at <= now() ORDER BY next_check_at LIMIT %s
        ) AS longest GROUP BY user_id
        """,
        (DUE_WINDOW,),
    )
    rows = await cursor.fetchall()
    return [row["user_id"] for row in rows], sum(row["checks"] for row in rows) >= DUE_WINDOW


async def visit(connection: AsyncConnection, *, after: str) -> list[str]:
    """Return the next users after ``after``, in the order of their IDs, whether or not a check of theirs is due.

    Uses a loose index scan (PostgreSQL wiki). Fewer than ``VISITED_USERS``: these were the last.
    """
    cursor = await connection.execute(
        """
        WITH RECURSIVE visited AS (
            (SELECT user_id, 1 AS n FROM awaited_sources WHERE user_id > %(after)s ORDER BY user_id LIMIT 1)
            UNION ALL
            SELECT (SELECT awaited.user_id FROM awaited_sources AS awaited WHERE awaited.user_id > visited.user_id
                    ORDER BY awaited.user_id LIMIT 1), n + 1
            FROM visited WHERE user_id IS NOT NULL AND n < %(users)s
        )
        SELECT user_id FROM visited WHERE user_id IS NOT NULL
        """,
        {"after": after, "users": VISITED_USERS},
    )
    return [row["user_id"] for row in await cursor.fetchall()]


async def lease(
    connection: AsyncConnection, users: Sequence[str], *, seconds: timedelta, limit: int
) -> list[AwaitedSource]:
    """Lease at most ``limit`` due checks of these users, in turns: the second check of a user ranks after all first.

    Checks whose result is not recorded are due again after ``seconds``. Checks that another controller is leasing are
    skipped.
    """
    cursor = await connection.execute(
        """
        WITH due AS MATERIALIZED (
            SELECT job_id, next_check_at, row_number() OVER (PARTITION BY users.user_id ORDER BY next_check_at) AS rank
            FROM unnest(%(users)s::text[]) AS users (user_id) CROSS JOIN LATERAL (
                SELECT job_id, next_check_at FROM awaited_sources
                WHERE awaited_sources.user_id = users.user_id AND next_check_at <= now()
                ORDER BY next_check_at LIMIT %(of_user)s OFFSET 0
            ) AS candidate
        ),
        -- More than needed, because a row may be locked.
        first AS MATERIALIZED (
            SELECT job_id, rank, next_check_at FROM due ORDER BY rank, next_check_at LIMIT 2 * %(limit)s
        ), chosen AS MATERIALIZED (
            SELECT job_id FROM first JOIN awaited_sources AS awaited USING (job_id)
            WHERE awaited.next_check_at <= now()
            ORDER BY rank, first.next_check_at LIMIT %(limit)s
            FOR NO KEY UPDATE OF awaited SKIP LOCKED
        )
        UPDATE awaited_sources AS awaited SET next_check_at = now() + %(seconds)s
        FROM chosen JOIN jobs USING (job_id)
        WHERE awaited.job_id = chosen.job_id
        RETURNING awaited.job_id, awaited.user_id, status, source_type, source_key, awaited.traceparent,
                  multipart_upload IS NOT NULL AS is_in_parts
        """,
        {
            "users": list(users),
            "seconds": seconds,
            "limit": limit,
            "of_user": max(_MIN_OF_USER, 2 * limit // len(users)),
        },
    )
    return [AwaitedSource(**row) for row in await cursor.fetchall()]


async def postpone(connection: AsyncConnection, job_ids: Sequence[UUID]) -> None:
    """Check sources again later that were not there; no more if they can't arrive any longer."""
    await connection.execute(
        """
        WITH given_up AS (
            DELETE FROM awaited_sources WHERE job_id = ANY(%(job_ids)s) AND awaited_until < now()
        )
        UPDATE awaited_sources
        SET next_check_at = now() + least(%(longest)s, greatest(%(shortest)s, (now() - awaited_since) / %(share)s))
        WHERE job_id = ANY(%(job_ids)s) AND awaited_until >= now()
        """,
        {"job_ids": list(job_ids), "shortest": MIN_INTERVAL, "longest": MAX_INTERVAL, "share": _WAITED_SHARE},
    )


async def release(connection: AsyncConnection, job_ids: Sequence[UUID]) -> None:
    """Let checks that could not be made be due again after ``RETRY_INTERVAL``, for as long as it takes."""
    await connection.execute(
        "UPDATE awaited_sources SET next_check_at = now() + %s WHERE job_id = ANY(%s)",
        (RETRY_INTERVAL, list(job_ids)),
    )


async def remove(connection: AsyncConnection, job_ids: Sequence[UUID]) -> None:
    """Wait no longer for the sources of jobs that have left the status ``created``. Idempotent."""
    await connection.execute("DELETE FROM awaited_sources WHERE job_id = ANY(%s)", (list(job_ids),))
