"""What the hostile user has, written into the database: jobs with many outputs, a year of usage, a job to lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.types.json import Jsonb

JOBS = 100
OUTPUTS = 32
USAGE = 100_000
_STEPS = [{"id": f"step{n}", "action": "resize", "width": 10 + n} for n in range(OUTPUTS)]
_FINISHED = """
INSERT INTO jobs (job_id, user_id, status, source_type, source_key, pipeline, max_attempts, finished_at)
SELECT gen_random_uuid(), %(user)s, 'succeeded', 's3_presigned', 'uploads/x/source', %(pipeline)s, 5, now()
FROM generate_series(1, %(jobs)s)
"""
_OUTPUTS = """
INSERT INTO outputs (job_id, step_id, position, action, format, object_key, bytes, width, height, sha256)
SELECT job_id, 'step' || n, n, 'resize', 'webp', 'outputs/' || job_id || '/1/step' || n || '.webp', 1000, 10, 10,
       repeat('0', 64)
FROM jobs, generate_series(0, %(outputs)s - 1) AS n WHERE user_id = %(user)s
"""
_USAGE = """
INSERT INTO usage_logs (job_id, user_id, pixels_processed, bytes_saved, compute_time_ms, created_at)
SELECT gen_random_uuid(), %(user)s, 1000000, 1000, 50, now() - n * interval '1 year' / %(usage)s
FROM generate_series(0, %(usage)s - 1) AS n
"""
_WAITING = """
INSERT INTO jobs (job_id, user_id, status, source_type, source_key, pipeline, max_attempts)
VALUES (gen_random_uuid(), %(user)s, 'created', 's3_presigned', 'uploads/y/source', %(pipeline)s, 5)
RETURNING job_id::text
"""


def give(connection: psycopg.Connection, user_id: str) -> str:
    """Write the rows, and return the ID of the job that is to be locked."""
    values = {"user": user_id, "jobs": JOBS, "outputs": OUTPUTS, "usage": USAGE, "pipeline": Jsonb(_STEPS)}
    with connection.transaction():
        for statement in (_FINISHED, _OUTPUTS, _USAGE):
            connection.execute(statement, values)
        row = connection.execute(_WAITING, values).fetchone()
    assert row
    return str(row[0])


@contextmanager
def locked(connection: psycopg.Connection, job_id: str) -> Iterator[None]:
    """Hold the lock of the job's row, as a slow transaction would."""
    with connection.transaction():
        connection.execute("SELECT FROM jobs WHERE job_id = %s FOR UPDATE", (job_id,))
        yield
