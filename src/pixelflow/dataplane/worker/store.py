"""What a worker writes. Synchronous, for its threads.

Every write after the claim is fenced: it carries the lease token that the claim gave out, and touches nothing when the
row has moved on. It asks for a lease, which a row has as long as it is ``processing`` (a constraint says so), and not
for the status: the planner would find its one row by the index of all leases, which may be many more than when it last
counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from pixelflow.adapters.postgres.database import Connection


@dataclass(frozen=True)
class Lease:
    """The right to work on a job, until it is given to somebody else."""

    job_id: UUID
    token: int


@dataclass(frozen=True)
class ClaimedJob:
    """What a worker has to know of the job that it claimed."""

    job_id: UUID
    user_id: str
    lease_token: int
    attempts: int
    max_attempts: int
    source_type: str
    source_key: str
    pipeline: list[dict[str, Any]]
    traceparent: str | None
    due_at: datetime
    claimed_at: datetime
    """Both by the database's clock."""

    @property
    def lease(self) -> Lease:
        """What every later write has to carry."""
        return Lease(self.job_id, self.lease_token)

    @property
    def queued_seconds(self) -> float:
        """How long it had been due."""
        return (self.claimed_at - self.due_at).total_seconds()


def claim(connection: Connection, *, job_id: UUID, worker_id: str, lease: timedelta) -> ClaimedJob | None:
    """Take the job if it is queued and due, and open its attempt; ``None`` if somebody else has it or it is over."""
    return _one(
        connection.execute(
            """
            WITH claimed AS (
                UPDATE jobs SET status = 'processing', attempts = attempts + 1, lease_token = lease_token + 1,
                                lease_until = now() + %(lease)s, started_at = now()
                WHERE job_id = %(job_id)s AND status = 'queued' AND run_at <= now()
                RETURNING job_id, user_id, lease_token, attempts, max_attempts, source_type, source_key, pipeline,
                          traceparent, run_at AS due_at, started_at AS claimed_at
            ), opened AS (
                INSERT INTO attempts (job_id, attempt, worker_id) SELECT job_id, lease_token, %(worker_id)s FROM claimed
            )
            SELECT * FROM claimed
            """,
            {"job_id": job_id, "worker_id": worker_id, "lease": lease},
        ).fetchone()
    )


def _one(row: dict[str, Any] | None) -> ClaimedJob | None:
    return ClaimedJob(**row) if row else None


def renew(connection: Connection, leases: Sequence[Lease], *, lease: timedelta) -> set[Lease]:
    """Hold on to all of a worker's leases in one statement; what is not in the answer is no longer the worker's."""
    rows = connection.execute(
        """
        UPDATE jobs SET lease_until = now() + %(lease)s
        FROM unnest(%(job_ids)s::uuid[], %(tokens)s::bigint[]) AS held (job_id, token)
        WHERE jobs.job_id = held.job_id AND jobs.lease_token = held.token AND lease_until IS NOT NULL
        RETURNING jobs.job_id, jobs.lease_token
        """,
        {"lease": lease, "job_ids": [held.job_id for held in leases], "tokens": [held.token for held in leases]},
    ).fetchall()
    return {Lease(row["job_id"], row["lease_token"]) for row in rows}


@dataclass(frozen=True)
class SourceFacts:
    """What was found in a source."""

    bytes: int
    sha256: str
    format: str
    width: int
    height: int


@dataclass(frozen=True)
class OutputRow:
    """A stored output."""

    step_id: str
    position: int
    action: str
    format: str
    object_key: str
    bytes: int
    width: int
    height: int
    sha256: str


@dataclass(frozen=True)
class UsageRow:
    """What the job is billed by."""

    pixels_processed: int
    bytes_saved: int
    compute_time_ms: int


def succeed(
    connection: Connection,
    lease: Lease,
    *,
    source: SourceFacts,
    outputs: Sequence[OutputRow],
    usage: UsageRow,
    stages: Mapping[str, int],
) -> bool:
    """Finish the job: status, outputs, usage and attempt in one statement. False: the lease was lost."""
    row = connection.execute(
        """
        WITH done AS (
            UPDATE jobs SET status = 'succeeded', finished_at = now(), lease_until = NULL, error = NULL,
                            source_bytes = %(bytes)s, source_sha256 = %(sha256)s, source_format = %(format)s,
                            source_width = %(width)s, source_height = %(height)s
            WHERE job_id = %(job_id)s AND lease_token = %(token)s AND lease_until IS NOT NULL
            RETURNING job_id, user_id, lease_token
        ), kept AS (
            INSERT INTO outputs (job_id, step_id, position, action, format, object_key, bytes, width, height, sha256)
            SELECT done.job_id, o.* FROM done, jsonb_to_recordset(%(outputs)s) AS o (
                step_id text, position integer, action text, format text, object_key text,
                bytes bigint, width integer, height integer, sha256 text)
        ), billed AS (
            INSERT INTO usage_logs (job_id, user_id, pixels_processed, bytes_saved, compute_time_ms)
            SELECT job_id, user_id, %(pixels_processed)s, %(bytes_saved)s, %(compute_time_ms)s FROM done
        ), closed AS (
            UPDATE attempts SET ended_at = now(), outcome = 'succeeded', stages = %(stages)s
            FROM done WHERE attempts.job_id = done.job_id AND attempts.attempt = done.lease_token
        )
        SELECT job_id FROM done
        """,
        {
            "job_id": lease.job_id,
            "token": lease.token,
            **vars(source),
            **vars(usage),
            "outputs": Jsonb([vars(output) for output in outputs]),
            "stages": Jsonb(dict(stages)),
        },
    ).fetchone()
    return row is not None


def fail(connection: Connection, lease: Lease, *, error: Mapping[str, Any], stages: Mapping[str, int]) -> bool:
    """Finish the job as failed. False: the lease was lost, nothing is written."""
    row = connection.execute(
        """
        WITH done AS (
            UPDATE jobs SET status = 'failed', finished_at = now(), lease_until = NULL, error = %(error)s
            WHERE job_id = %(job_id)s AND lease_token = %(token)s AND lease_until IS NOT NULL
            RETURNING job_id, lease_token
        ), closed AS (
            UPDATE attempts SET ended_at = now(), outcome = 'failed', error = %(error)s, stages = %(stages)s
            FROM done WHERE attempts.job_id = done.job_id AND attempts.attempt = done.lease_token
        )
        SELECT job_id FROM done
        """,
        {"job_id": lease.job_id, "token": lease.token, "error": Jsonb(dict(error)), "stages": Jsonb(dict(stages))},
    ).fetchone()
    return row is not None


def hand_back(
    connection: Connection,
    lease: Lease,
    *,
    delay: timedelta,
    counted: bool,
    error: Mapping[str, Any] | None,
    stages: Mapping[str, int],
) -> bool:
    """Give the job back to the queue, due after ``delay``. False: the lease was lost, nothing is written.

    Args:
        connection: where to.
        lease: what the worker holds.
        delay: until the next attempt.
        counted: whether this attempt counts; that a worker says goodbye is not the job's fault.
        error: why, kept in the job until it ends otherwise.
        stages: milliseconds spent in each.
    """
    row = connection.execute(
        """
        WITH done AS (
            UPDATE jobs SET status = 'queued', run_at = now() + %(delay)s, lease_until = NULL, error = %(error)s,
                            attempts = attempts - %(uncounted)s, task_id = gen_random_uuid(), relayed_at = NULL
            WHERE job_id = %(job_id)s AND lease_token = %(token)s AND lease_until IS NOT NULL
            RETURNING job_id, lease_token
        ), closed AS (
            UPDATE attempts SET ended_at = now(), outcome = 'retried', error = %(error)s, stages = %(stages)s
            FROM done WHERE attempts.job_id = done.job_id AND attempts.attempt = done.lease_token
        )
        SELECT job_id FROM done
        """,
        {
            "job_id": lease.job_id,
            "token": lease.token,
            "delay": delay,
            "uncounted": 0 if counted else 1,
            "error": Jsonb(dict(error)) if error else None,
            "stages": Jsonb(dict(stages)),
        },
    ).fetchone()
    return row is not None
