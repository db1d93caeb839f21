"""Waiting jobs, written into the database: a long queue in seconds. The only code here that knows the queue's tables.

The jobs are real: they share one uploaded source, and a worker can process them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg.types.json import Jsonb

from bench.jobs import Jobs, Pipeline

_FILL = """
INSERT INTO jobs (job_id, user_id, status, source_type, source_key, pipeline, max_attempts, run_at, task_id, queued_at)
SELECT gen_random_uuid(), (%(users)s::text[])[1 + n %% cardinality(%(users)s::text[])], 'queued', 's3_presigned',
       %(source)s, %(pipeline)s, 5, now(), gen_random_uuid(), now()
FROM generate_series(0, %(count)s - 1) AS n
"""
"""One row per job, so that the relay sends its message."""


def upload_source(jobs: Jobs, photo: Path) -> str:
    """Upload a source for :func:`fill` and return its key."""
    name = f"backlog-{uuid4()}"
    jobs.upload([name], [photo])
    return f"uploads/{name}/source"


def fill(connection: psycopg.Connection, users: Sequence[str], count: int, pipeline: Pipeline, source: str) -> None:
    """Queue ``count`` jobs, the same number for each user, with ``source`` as the key of their source."""
    connection.execute(_FILL, {"users": list(users), "source": source, "pipeline": Jsonb(pipeline), "count": count})
    connection.execute("ANALYZE")  # as autovacuum does soon afterwards


def clear(connection: psycopg.Connection) -> None:
    """Delete all jobs and what depends on them. Jobs that are being processed lose their leases."""
    connection.execute("TRUNCATE jobs, usage_logs CASCADE")


def waiting(connection: psycopg.Connection) -> dict[str, int]:
    """Return the number of waiting jobs of each user that has any."""
    return dict(
        connection.execute("SELECT user_id, count(*) FROM jobs WHERE status = 'queued' GROUP BY user_id").fetchall()
    )
