"""The statements of retention, which apply to the jobs of all users, a batch at a time.

Expiry marks a file in its job's row and inserts the pending deletion in one statement. An earlier one locked the rows,
so that this one sees each job that was queued to read the file (``transitions.queue``). A pending deletion is leased by
moving its due time a short while ahead, so that it is due again if the process dies. Every statement locks its rows
with ``SKIP LOCKED``: concurrent changes to a job take precedence, and several controllers share the work.

A pending deletion must never name a file that a job may still need: expiry, the trigger on ``attempts`` and
``transitions.erase`` insert only deletions of files that can't come into use again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncConnection

# ── Expiry ───────────────────────────────────────────────────────────────────────────────────────


_EXPIRE_DUE = """
    SELECT job_id FROM jobs
    WHERE finished_at <= now() - %(age)s AND {column} IS NULL AND erased_at IS NULL AND {condition} AND {unread}
    ORDER BY finished_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""
_EXPIRE = """
    WITH expired AS (
        UPDATE jobs SET {column} = now() WHERE job_id = ANY(%(due)s) AND {unread} RETURNING job_id, lease_token
    )
    INSERT INTO pending_deletions (job_id, kind, attempt, due_at) SELECT job_id, {deletion}, now() FROM expired
"""
_UNREAD = """NOT EXISTS (
    SELECT FROM jobs AS reader
    WHERE reader.source_job_id = jobs.job_id AND reader.source_job_id IS NOT NULL AND reader.finished_at IS NULL
      AND reader.source_output IS {step}
)"""
"""No unfinished job reads the file."""
_SOURCES = {
    "column": "source_expired_at",
    "condition": "source_type = 's3_presigned'",
    "deletion": "'source', 0",
    "unread": _UNREAD.format(step="NULL"),
}
_OUTPUTS = {
    "column": "outputs_expired_at",
    "condition": "status = 'succeeded'",
    "deletion": "'output', lease_token",
    "unread": _UNREAD.format(step="NOT NULL"),
}


async def expire_sources(connection: AsyncConnection, *, age: timedelta, limit: int) -> int:
    """Expire the uploaded sources of jobs that ended ``age`` ago and that no unfinished job reads; returns how many.

    Must run in a transaction. None of these jobs can be queued afterwards, nor one that reads their sources:
    ``transitions.queue`` requires a source that has not expired.
    """
    return await _expire(connection, _SOURCES, age=age, limit=limit)


async def expire_outputs(connection: AsyncConnection, *, age: timedelta, limit: int) -> int:
    """Expire the outputs of jobs that succeeded ``age`` ago, as ``expire_sources``; returns the number of jobs."""
    return await _expire(connection, _OUTPUTS, age=age, limit=limit)


async def _expire(connection: AsyncConnection, files: Mapping[str, str], *, age: timedelta, limit: int) -> int:
    """Lock jobs whose files are due, then expire those files: the second statement sees all jobs that read them."""
    cursor = await connection.execute(_EXPIRE_DUE.format(**files).encode(), {"age": age, "limit": limit})
    due = [row["job_id"] for row in await cursor.fetchall()]
    if not due:
        return 0
    return (await connection.execute(_EXPIRE.format(**files).encode(), {"due": due})).rowcount


async def expire_unused_uploads(
    connection: AsyncConnection, *, age: timedelta, limit: int, upload_grace: timedelta
) -> int:
    """Expire the uploads of jobs that were created ``age`` ago and canceled before they were started; returns how many.

    The uploads are deleted when no more can arrive: ``upload_grace`` after the end of the job.
    """
    cursor = await connection.execute(
        """
        WITH due AS (
            SELECT job_id FROM jobs
            WHERE status = 'canceled' AND queued_at IS NULL AND source_expired_at IS NULL AND erased_at IS NULL
              AND source_type = 's3_presigned' AND created_at <= now() - %(age)s
            ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        ), expired AS (
            UPDATE jobs SET source_expired_at = now() FROM due WHERE jobs.job_id = due.job_id
            RETURNING jobs.job_id, finished_at
        )
        INSERT INTO pending_deletions (job_id, kind, attempt, due_at)
        SELECT job_id, 'source', 0, greatest(now(), finished_at + %(upload_grace)s) FROM expired
        """,
        {"age": age, "limit": limit, "upload_grace": upload_grace},
    )
    return cursor.rowcount


@dataclass(frozen=True)
class NeverStartedJob:
    """A job that its owner created and did not start."""

    job_id: UUID
    user_id: str


async def lock_never_started(connection: AsyncConnection, *, age: timedelta, limit: int) -> list[NeverStartedJob]:
    """Jobs that were created ``age`` ago and never started, locked until the transaction ends."""
    cursor = await connection.execute(
        """
        SELECT job_id, user_id FROM jobs WHERE status = 'created' AND created_at <= now() - %(age)s
        ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        """,
        {"age": age, "limit": limit},
    )
    return [NeverStartedJob(**row) for row in await cursor.fetchall()]


# ── Old rows ─────────────────────────────────────────────────────────────────────────────────────

# Rows are deleted by `= ANY (ARRAY(…))`, and not by a join: the planner may join by reading the whole table.


async def delete_jobs(connection: AsyncConnection, *, age: timedelta, limit: int) -> int:
    """Delete jobs that ended ``age`` ago and have no files and no pending events; returns how many.

    The rows that users are billed by stay.
    """
    cursor = await connection.execute(
        """
        WITH due AS (
            SELECT job_id FROM jobs
            WHERE finished_at <= now() - %(age)s AND erased_at IS NULL
              AND (source_expired_at IS NOT NULL OR source_type <> 's3_presigned')
              AND (outputs_expired_at IS NOT NULL OR status <> 'succeeded')
              AND NOT EXISTS (SELECT FROM pending_deletions WHERE pending_deletions.job_id = jobs.job_id)
              AND NOT EXISTS (SELECT FROM events WHERE events.job_id = jobs.job_id AND events.status = 'pending')
            ORDER BY finished_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        )
        DELETE FROM jobs WHERE job_id = ANY (ARRAY(SELECT job_id FROM due))
        """,
        {"age": age, "limit": limit},
    )
    return cursor.rowcount


@dataclass(frozen=True)
class DeletedEvents:
    """Numbers of deleted rows."""

    events: int
    deliveries: int


async def delete_events(connection: AsyncConnection, *, age: timedelta, limit: int) -> DeletedEvents:
    """Delete at most ``limit`` events that are not pending and were last due ``age`` ago, with their deliveries."""
    cursor = await connection.execute(
        """
        WITH due AS (
            SELECT event_id FROM events WHERE status <> 'pending' AND next_attempt_at <= now() - %(age)s
            ORDER BY next_attempt_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        ), deleted_deliveries AS (
            DELETE FROM deliveries WHERE event_id = ANY (ARRAY(SELECT event_id FROM due)) RETURNING 1
        ), deleted_events AS (
            DELETE FROM events WHERE event_id = ANY (ARRAY(SELECT event_id FROM due)) RETURNING 1
        )
        SELECT (SELECT count(*) FROM deleted_events) AS events,
               (SELECT count(*) FROM deleted_deliveries) AS deliveries
        """,
        {"age": age, "limit": limit},
    )
    row = await cursor.fetchone()
    return DeletedEvents(**row) if row else DeletedEvents(0, 0)


async def delete_attempts(connection: AsyncConnection, *, age: timedelta, limit: int) -> int:
    """Delete at most ``limit`` ended attempts that began ``age`` ago. Nothing finds files by these rows."""
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


# ── Pending deletions ────────────────────────────────────────────────────────────────────────────


class DeletionKind(StrEnum):
    """Which files of a job are deleted."""

    JOB = "job"
    """All files of an erased job."""
    SOURCE = "source"
    OUTPUT = "output"
    """The outputs that the job's rows name."""
    ORPHAN = "orphan"
    """Everything that an attempt stored."""


@dataclass(frozen=True)
class PendingDeletion:
    """Files to delete."""

    job_id: UUID
    kind: str
    attempt: int
    source_type: str
    source_key: str
    output_keys: list[str]
    """For the kind ``output``; otherwise empty."""
    multipart_upload: str | None = field(default=None, repr=False)
    """ID of the upload in parts, which may be unfinished."""


async def lease_deletions(
    connection: AsyncConnection, *, kind: str, lease: timedelta, limit: int
) -> list[PendingDeletion]:
    """Return due deletions of a kind, longest due first. Those that are not completed are due again after ``lease``."""
    cursor = await connection.execute(
        """
        WITH due AS (
            SELECT job_id, kind, attempt FROM pending_deletions WHERE kind = %(kind)s AND due_at <= now()
            ORDER BY due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        )
        UPDATE pending_deletions AS pending SET due_at = now() + %(lease)s
        FROM due JOIN jobs ON jobs.job_id = due.job_id
        WHERE (pending.job_id, pending.kind, pending.attempt) = (due.job_id, due.kind, due.attempt)
        RETURNING pending.job_id, pending.kind, pending.attempt, source_type, source_key, multipart_upload,
                  ARRAY(SELECT object_key FROM outputs
                        WHERE outputs.job_id = pending.job_id AND pending.kind = 'output') AS output_keys
        """,
        {"kind": kind, "lease": lease, "limit": limit},
    )
    return [PendingDeletion(**row) for row in await cursor.fetchall()]


async def complete_deletions(connection: AsyncConnection, deletions: Sequence[PendingDeletion]) -> None:
    """Remove the pending deletions, whose files are deleted. Idempotent. For kinds other than ``job``."""
    await connection.execute(
        """
        DELETE FROM pending_deletions AS pending
        USING unnest(%(job_ids)s::uuid[], %(kinds)s::text[], %(attempts)s::bigint[]) AS done (job_id, kind, attempt)
        WHERE (pending.job_id, pending.kind, pending.attempt) = (done.job_id, done.kind, done.attempt)
        """,
        {
            "job_ids": [deletion.job_id for deletion in deletions],
            "kinds": [deletion.kind for deletion in deletions],
            "attempts": [deletion.attempt for deletion in deletions],
        },
    )


async def complete_erasures(
    connection: AsyncConnection, job_ids: Sequence[UUID], *, lease: timedelta, upload_grace: timedelta
) -> None:
    """Delete the rows of erased jobs, whose files are deleted; the rows that users are billed by stay. Idempotent.

    Until ``upload_grace`` after the erasure, files may still arrive. If the deletion was leased (for ``lease``) before
    that time, the row stays, and the files are due for deletion once more at that time.
    """
    await connection.execute(
        """
        WITH erased AS (
            SELECT jobs.job_id, erased_at + %(upload_grace)s AS last_arrival, due_at - %(lease)s AS leased_at
            FROM jobs JOIN pending_deletions AS pending ON pending.job_id = jobs.job_id AND kind = 'job'
            WHERE jobs.job_id = ANY(%(job_ids)s) AND erased_at IS NOT NULL
        ), postponed AS (
            UPDATE pending_deletions AS pending SET due_at = last_arrival FROM erased
            WHERE pending.job_id = erased.job_id AND kind = 'job' AND last_arrival > leased_at
        )
        DELETE FROM jobs USING erased WHERE jobs.job_id = erased.job_id AND last_arrival <= leased_at
        """,
        {"job_ids": list(job_ids), "lease": lease, "upload_grace": upload_grace},
    )
