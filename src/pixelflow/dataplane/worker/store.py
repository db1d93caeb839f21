"""SQL of the worker. Synchronous, because a worker uses threads.

Every write after the claim is fenced: it carries the lease token that the claim issued and changes nothing if the row
has moved on. Writes test ``lease_until IS NOT NULL``, which a constraint ties to the status ``processing``, and not the
status itself: the planner would then use the index of all leases to find the row, and its statistics may be far behind
their real number.
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
    """The exclusive right to work on a job until it expires or is lost."""

    job_id: UUID
    token: int


@dataclass(frozen=True)
class ClaimedJob:
    """A claimed job, with what the worker needs to process it."""

    job_id: UUID
    user_id: str
    lease_token: int
    attempts: int
    max_attempts: int
    source_type: str
    source_key: str
    pipeline: list[dict[str, Any]]
    traceparent: str | None
    queued_at: datetime | None
    due_at: datetime
    claimed_at: datetime
    """As ``due_at``, by the database's clock."""

    @property
    def lease(self) -> Lease:
        """The lease that every later write must carry."""
        return Lease(self.job_id, self.lease_token)

    @property
    def queued_seconds(self) -> float:
        """Seconds between ``due_at`` and the claim."""
        return (self.claimed_at - self.due_at).total_seconds()

    @property
    def waited_seconds(self) -> float:
        """Seconds between the start of the job, or its latest retry by its owner, and the claim."""
        return (self.claimed_at - (self.queued_at or self.due_at)).total_seconds()


def claim(connection: Connection, *, job_id: UUID, worker_id: str, lease: timedelta) -> ClaimedJob | None:
    """Claim the job and open an attempt. ``None``: the job is not queued, or not due yet."""
    return _to_job(
        connection.execute(
            """
            WITH claimed AS (
                UPDATE jobs SET status = 'processing', attempts = attempts + 1, lease_token = lease_token + 1,
                                lease_until = now() + %(lease)s, started_at = now()
                WHERE job_id = %(job_id)s AND status = 'queued' AND run_at <= now()
                RETURNING job_id, user_id, lease_token, attempts, max_attempts, source_type, source_key, pipeline,
                          traceparent, queued_at, run_at AS due_at, started_at AS claimed_at
            ), opened AS (
                INSERT INTO attempts (job_id, attempt, worker_id) SELECT job_id, lease_token, %(worker_id)s FROM claimed
            )
            SELECT * FROM claimed
            """,
            {"job_id": job_id, "worker_id": worker_id, "lease": lease},
        ).fetchone()
    )


def _to_job(row: dict[str, Any] | None) -> ClaimedJob | None:
    return ClaimedJob(**row) if row else None


def renew(connection: Connection, leases: Sequence[Lease], *, lease: timedelta) -> set[Lease]:
    """Renew a worker's leases in one statement and return the renewed ones; all others are lost."""
    rows = connection.execute(
        """
        UPDATE jobs SET lease_until = now() + %(lease)s
        FROM unnest(%(job_ids)s::uuid[], %(tokens)s::bigint[]) AS leases (job_id, token)
        WHERE jobs.job_id = leases.job_id AND jobs.lease_token = leases.token AND lease_until IS NOT NULL
        RETURNING jobs.job_id, jobs.lease_token
        """,
        {"lease": lease, "job_ids": [each.job_id for each in leases], "tokens": [each.token for each in leases]},
    ).fetchall()
    return {Lease(row["job_id"], row["lease_token"]) for row in rows}


@dataclass(frozen=True)
class SourceFacts:
    """Properties of a source."""

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
    """The figures that a job is billed by."""

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
    """Record success: status, outputs, usage and attempt in one statement. False: lease lost, nothing written."""
    row = connection.execute(
        """
        WITH done AS (
            UPDATE jobs SET status = 'succeeded', finished_at = now(), lease_until = NULL, error = NULL,
                            source_bytes = %(bytes)s, source_sha256 = %(sha256)s, source_format = %(format)s,
                            source_width = %(width)s, source_height = %(height)s
            WHERE job_id = %(job_id)s AND lease_token = %(token)s AND lease_until IS NOT NULL
            RETURNING job_id, user_id, lease_token
        ), stored AS (
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
    """Record failure of the job. False: lease lost, nothing written."""
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


def release(
    connection: Connection,
    lease: Lease,
    *,
    delay: timedelta,
    counted: bool,
    error: Mapping[str, Any] | None,
    stages: Mapping[str, int],
) -> bool:
    """Requeue the job, due after ``delay``. False: lease lost, nothing written.

    Args:
        connection: to the database.
        lease: the worker's lease.
        delay: time until the next attempt.
        counted: whether the attempt counts; it does not when a worker stops.
        error: why the attempt failed; stays in the job's row until its next outcome.
        stages: milliseconds spent in each stage.
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
