"""SQL of the worker: claims, renewals, outcomes, signs of life. Synchronous, because a worker uses threads.

Every write after the claim is fenced: it carries the lease token that the claim issued and changes nothing if the row
has moved on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    source_options: dict[str, Any]
    pipeline: list[dict[str, Any]]
    traceparent: str | None
    priority: int
    """The rank that ``PRIORITY_RANKS`` gives it."""
    queued_at: datetime | None
    due_at: datetime
    claimed_at: datetime
    """As ``due_at``, by the database's clock."""
    source_version: str | None = None
    """Of the object when this run was queued; ``None`` or empty: any."""
    declared_sha256: str | None = None
    """Of the source; ``None``: any."""
    destination: dict[str, Any] | None = None
    """A ``StoredDestination``."""
    source_bucket: str | None = None
    """The named bucket that has the source."""
    source_url: str | None = field(default=None, repr=False)
    """Where the source is fetched. It may contain a secret."""

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


_MAX_CLAIMS = 5
"""Statements of one call of ``claim``."""


def claim(
    connection: Connection,
    *,
    places: int,
    capabilities: Sequence[str],
    worker_id: str,
    lease: timedelta,
    resting: Sequence[str] = (),
) -> list[ClaimedJob]:
    """Claim up to ``places`` jobs that a worker of these capabilities can process, and open their attempts.

    Leaves out the jobs with sources by URL of the users in ``resting``.

    The order among users and among the jobs of a user is that of the SQL function ``claim_jobs``.
    """
    for _ in range(_MAX_CLAIMS):
        rows = connection.execute(
            """
            SELECT claimed.*, job.*
            FROM claim_jobs(%s::integer, %s::text[], %s::text, %s::interval, %s::text[]) AS claimed
            LEFT JOIN LATERAL claimed_job(claimed.job_id) AS job ON true
            """,
            (places, list(capabilities), worker_id, lease, list(resting)),
        ).fetchall()
        if not rows or rows[0]["job_id"] is not None:
            return [ClaimedJob(**row) for row in rows]
    return []


@dataclass(frozen=True)
class JobAsset:
    """An asset that a job uses, as it was when the job was created."""

    reference: str
    """As the pipeline names it."""
    asset_id: UUID
    bytes: int
    etag: str


def find_assets(connection: Connection, job_id: UUID) -> list[JobAsset]:
    """Return the assets of a job that still exist."""
    rows = connection.execute(
        """
        SELECT reference, asset_id, bytes, etag FROM job_assets JOIN assets USING (asset_id)
        WHERE job_id = %s AND etag IS NOT NULL
        """,
        (job_id,),
    ).fetchall()
    return [JobAsset(**row) for row in rows]


def pin_source(connection: Connection, lease: Lease, version: str) -> bool:
    """Record the version of the source that this run reads. False: lease lost, nothing written."""
    row = connection.execute(
        """
        UPDATE jobs SET source_version = %s, source_version_run = run
        WHERE job_id = %s AND lease_token = %s AND status = 'processing'
        RETURNING job_id
        """,
        (version, lease.job_id, lease.token),
    ).fetchone()
    return row is not None


def promote_due(connection: Connection, *, limit: int) -> int:
    """Make delayed jobs claimable that are due; returns how many."""
    row = connection.execute("SELECT promote_due_jobs(%s::integer) AS jobs", (limit,)).fetchone()
    return row["jobs"] if row else 0


def register(
    connection: Connection, *, worker_id: str, capabilities: Sequence[str], slots: int, degraded: str | None
) -> None:
    """Record that the worker is alive, what it is capable of, and why it claims nothing, if so.

    Deletes workers that sent no sign of life for ten minutes. Until then, they count as part of the installation: no
    job is refused because the workers that can process it are being restarted.
    """
    connection.execute(
        """
        WITH dead AS (
            DELETE FROM workers WHERE seen_at < now() - interval '10 min' AND worker_id <> %(worker_id)s
        )
        INSERT INTO workers (worker_id, capabilities, slots, degraded)
        VALUES (%(worker_id)s, %(capabilities)s, %(slots)s, %(degraded)s)
        ON CONFLICT (worker_id) DO UPDATE SET capabilities = excluded.capabilities, slots = excluded.slots,
                                              degraded = excluded.degraded, seen_at = now()
        """,
        {"worker_id": worker_id, "capabilities": list(capabilities), "slots": slots, "degraded": degraded},
    )


def unregister(connection: Connection, *, worker_id: str) -> None:
    """Record that a worker stops: it no longer counts as live, but for ten minutes as part of the installation."""
    connection.execute(
        "UPDATE workers SET seen_at = least(seen_at, now() - interval '15 s') WHERE worker_id = %s", (worker_id,)
    )


@dataclass(frozen=True)
class Renewal:
    """A lease to renew, and what its attempt does, for those who watch the job."""

    lease: Lease
    stage: str | None = None
    percent: int | None = None


def renew(connection: Connection, renewals: Sequence[Renewal], *, lease: timedelta) -> set[Lease]:
    """Renew a worker's leases in one statement and return the renewed ones; all others are lost.

    Tests ``lease_until``, which a constraint ties to the state ``active``, and not the state itself: the planner would
    then read the index of all active jobs, and its statistics may be far behind their real number.
    """
    rows = connection.execute(
        """
        UPDATE job_queue SET lease_until = now() + %(lease)s, progress_token = leases.token, stage = leases.stage,
                             percent = leases.percent
        FROM unnest(%(job_ids)s::uuid[], %(tokens)s::bigint[], %(stages)s::text[], %(percents)s::smallint[])
             AS leases (job_id, token, stage, percent)
        WHERE job_queue.job_id = leases.job_id AND job_queue.lease_token = leases.token AND lease_until IS NOT NULL
        RETURNING job_queue.job_id, job_queue.lease_token
        """,
        {
            "lease": lease,
            "job_ids": [each.lease.job_id for each in renewals],
            "tokens": [each.lease.token for each in renewals],
            "stages": [each.stage for each in renewals],
            "percents": [each.percent for each in renewals],
        },
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
    frames: int = 1


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
    destination_key: str | None = None
    """Below the prefix of the destination's bucket."""


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
    warnings: Sequence[Mapping[str, Any]] = (),
) -> bool:
    """Record success: status, outputs, usage and attempt in one statement. False: lease lost, nothing written."""
    row = connection.execute(
        """
        WITH done AS (
            UPDATE jobs SET status = 'succeeded', finished_at = now(), error = NULL,
                            source_bytes = %(bytes)s, source_sha256 = %(sha256)s, source_format = %(format)s,
                            source_width = %(width)s, source_height = %(height)s, source_frames = %(frames)s,
                            warnings = %(warnings)s
            WHERE job_id = %(job_id)s AND lease_token = %(token)s AND status = 'processing'
            RETURNING job_id, user_id, lease_token
        ), stored AS (
            INSERT INTO outputs (job_id, step_id, position, action, format, object_key, bytes, width, height, sha256,
                                 destination_key)
            SELECT done.job_id, o.* FROM done, jsonb_to_recordset(%(outputs)s) AS o (
                step_id text, position integer, action text, format text, object_key text,
                bytes bigint, width integer, height integer, sha256 text, destination_key text)
        ), billed AS (
            INSERT INTO usage_logs (job_id, user_id, pixels_processed, bytes_saved, compute_time_ms)
            SELECT job_id, user_id, %(pixels_processed)s, %(bytes_saved)s, %(compute_time_ms)s FROM done
        ), closed AS (
            UPDATE attempts SET ended_at = now(), outcome = 'succeeded', stages = %(stages)s
            FROM done WHERE attempts.job_id = done.job_id AND attempts.attempt = done.lease_token
        )
        SELECT dequeue_job(job_id, %(compute_time_ms)s::float8) FROM done
        """,
        {
            "job_id": lease.job_id,
            "token": lease.token,
            **vars(source),
            **vars(usage),
            "outputs": Jsonb([vars(output) for output in outputs]),
            "warnings": Jsonb([dict(warning) for warning in warnings]),
            "stages": Jsonb(dict(stages)),
        },
    ).fetchone()
    return row is not None


_FAILED_USAGE = """
            INSERT INTO failed_usage AS total (user_id, day, attempts, compute_time_ms)
            SELECT user_id, (now() AT TIME ZONE 'UTC')::date, 1, %(compute_time_ms)s FROM done WHERE %(counted)s
            ON CONFLICT (user_id, day) DO UPDATE
            SET attempts = total.attempts + 1, compute_time_ms = total.compute_time_ms + excluded.compute_time_ms
"""


def fail(
    connection: Connection, lease: Lease, *, error: Mapping[str, Any], stages: Mapping[str, int], compute_time_ms: int
) -> bool:
    """Record failure of the job. False: lease lost, nothing written.

    Args:
        connection: to the database.
        lease: the worker's lease.
        error: why the attempt failed.
        stages: milliseconds spent in each stage.
        compute_time_ms: processor time of the attempt, which counts into the user's fair share.
    """
    row = connection.execute(
        f"""
        WITH done AS (
            UPDATE jobs SET status = 'failed', finished_at = now(), error = %(error)s
            WHERE job_id = %(job_id)s AND lease_token = %(token)s AND status = 'processing'
            RETURNING job_id, user_id, lease_token
        ), closed AS (
            UPDATE attempts SET ended_at = now(), outcome = 'failed', error = %(error)s, stages = %(stages)s
            FROM done WHERE attempts.job_id = done.job_id AND attempts.attempt = done.lease_token
        ), added AS ({_FAILED_USAGE})
        SELECT dequeue_job(job_id, %(compute_time_ms)s::float8) FROM done
        """,  # noqa: S608 - a fixed statement
        {
            "job_id": lease.job_id,
            "token": lease.token,
            "error": Jsonb(dict(error)),
            "stages": Jsonb(dict(stages)),
            "compute_time_ms": compute_time_ms,
            "counted": True,
        },
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
    compute_time_ms: int,
) -> bool:
    """Requeue the job, due after ``delay``. False: lease lost, nothing written.

    Args:
        connection: to the database.
        lease: the worker's lease.
        delay: time until the next attempt.
        counted: whether the attempt counts; it does not when a worker stops.
        error: why the attempt failed; stays in the job's row until its next outcome.
        stages: milliseconds spent in each stage.
        compute_time_ms: processor time of the attempt, which counts into the user's fair share; 0 if the attempt failed
            through no fault of the job.
    """
    row = connection.execute(
        f"""
        WITH done AS (
            UPDATE jobs SET status = 'queued', error = %(error)s, attempts = attempts - %(uncounted)s
            WHERE job_id = %(job_id)s AND lease_token = %(token)s AND status = 'processing'
            RETURNING job_id, user_id, lease_token
        ), closed AS (
            UPDATE attempts SET ended_at = now(), outcome = 'retried', error = %(error)s, stages = %(stages)s
            FROM done WHERE attempts.job_id = done.job_id AND attempts.attempt = done.lease_token
        ), added AS ({_FAILED_USAGE})
        SELECT requeue_job(job_id, %(delay)s::interval, %(compute_time_ms)s::float8) FROM done
        """,  # noqa: S608 - a fixed statement
        {
            "job_id": lease.job_id,
            "token": lease.token,
            "delay": delay,
            "counted": counted and error is not None,
            "uncounted": 0 if counted else 1,
            "error": Jsonb(dict(error)) if error else None,
            "stages": Jsonb(dict(stages)),
            "compute_time_ms": compute_time_ms,
        },
    ).fetchone()
    return row is not None
