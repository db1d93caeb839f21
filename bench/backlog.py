"""Waiting jobs, written into the database: a long queue in seconds. The only code here that knows the queue's tables.

The jobs are real: they share one uploaded source, and a worker can process them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg.types.json import Jsonb

from bench.figures import BenchError
from bench.jobs import Jobs, Pipeline
from pixelflow.contracts.capabilities import worker_capabilities

_CLEAR_ATTEMPTS = 100
_JOBS = """
INSERT INTO jobs (job_id, user_id, status, source_type, source_key, pipeline, requires, max_attempts, queued_at)
SELECT gen_random_uuid(), (%(users)s::text[])[1 + n %% cardinality(%(users)s::text[])], 'queued', 's3_presigned',
       %(source)s, %(pipeline)s, %(requires)s, 5, now()
FROM generate_series(0, %(count)s - 1) AS n
"""
_REQUIREMENTS = "INSERT INTO requirement_sets (requires) VALUES (%(requires)s) ON CONFLICT DO NOTHING"
_QUEUE = """
INSERT INTO job_queue (job_id, user_id, requirement_id, state, priority, due_at, lease_token)
SELECT job_id, user_id, requirement_id, 'waiting', priority, queued_at, lease_token
FROM jobs JOIN requirement_sets USING (requires) WHERE status = 'queued'
ON CONFLICT DO NOTHING
"""
_LANES = """
INSERT INTO queue_lanes (user_id, requirement_id, waiting)
SELECT user_id, requirement_id, count(*) FROM job_queue GROUP BY user_id, requirement_id
ON CONFLICT (user_id, requirement_id) DO UPDATE SET waiting = excluded.waiting
"""
"""What ``enqueue_job`` does for one job, for all at once."""


def upload_source(jobs: Jobs, photo: Path) -> str:
    """Upload a source for :func:`fill` and return its key."""
    name = f"backlog-{uuid4()}"
    jobs.upload([name], [photo])
    return f"uploads/{name}/source"


def fill(connection: psycopg.Connection, users: Sequence[str], count: int, pipeline: Pipeline, source: str) -> None:
    """Queue ``count`` jobs, the same number for each user, with ``source`` as the key of their source."""
    values = {
        "users": list(users),
        "source": source,
        "pipeline": Jsonb(pipeline),
        "requires": list(worker_capabilities()),
        "count": count,
    }
    with connection.transaction():
        for statement in (_REQUIREMENTS, _JOBS, _QUEUE, _LANES):
            connection.execute(statement, values)
    connection.execute("VACUUM ANALYZE")  # as autovacuum does soon afterwards


def clear(connection: psycopg.Connection) -> None:
    """Delete all jobs and what depends on them. Jobs that are being processed lose their leases.

    It gives way to transactions of a running worker, which lock the same tables in other orders.
    """
    for _ in range(_CLEAR_ATTEMPTS):
        try:
            with connection.transaction():
                connection.execute("SET LOCAL lock_timeout = '100ms'")
                connection.execute("TRUNCATE jobs, usage_logs, queue_lanes CASCADE")
                return
        except psycopg.errors.LockNotAvailable:
            time.sleep(random.uniform(0, 0.1))  # noqa: S311
    raise BenchError("the jobs could not be deleted: another transaction held their tables for too long")


def waiting(connection: psycopg.Connection) -> dict[str, int]:
    """Return the number of waiting jobs of each user that has any."""
    return dict(
        connection.execute("SELECT user_id, count(*) FROM jobs WHERE status = 'queued' GROUP BY user_id").fetchall()
    )
