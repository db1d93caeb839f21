"""Rows of jobs in any status, as the tests of loops and workers find them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.postgres.database import Connection
from pixelflow.dataplane.worker import store
from pixelflow.dataplane.worker.store import ClaimedJob

LEASE = timedelta(seconds=30)
STEP = {"id": "small", "action": "resize", "width": 60}


def put(
    connection: Connection,
    status: str = "queued",
    *,
    due_in: float = 0,
    max_attempts: int = 5,
    **columns: Any,  # noqa: ANN401  # whatever a column holds
) -> UUID:
    """Keep a job in that status, due in so many seconds, and whatever else is asked for."""
    finished = status in {"succeeded", "failed", "canceled"}
    row = {
        "job_id": new_id(),
        "user_id": "user",
        "status": status,
        "source_type": "s3_presigned",
        "source_key": "uploads/x/source",
        "pipeline": Jsonb([STEP]),
        "max_attempts": max_attempts,
        "task_id": None if status == "created" else uuid4(),
        **columns,
    }
    connection.execute(
        f"""
        INSERT INTO jobs ({", ".join(row)}, run_at, lease_until, finished_at)
        VALUES ({", ".join(f"%({name})s" for name in row)}, now() + make_interval(secs => %(due_in)s),
                CASE WHEN %(status)s = 'processing' THEN now() + interval '30 s' END,
                CASE WHEN %(finished)s THEN now() END)
        """,  # noqa: S608  # column names of this file
        {**row, "due_in": due_in, "finished": finished},
    )
    job_id: UUID = row["job_id"]
    return job_id


def claimed(connection: Connection, **columns: Any) -> ClaimedJob:  # noqa: ANN401  # as for `put`
    """A job in a worker's hands."""
    job = store.claim(connection, job_id=put(connection, **columns), worker_id="worker", lease=LEASE)
    assert job
    return job


def row_of(connection: Connection, job_id: UUID) -> dict[str, Any]:
    """The job's row."""
    row = connection.execute("SELECT * FROM jobs WHERE job_id = %s", (job_id,)).fetchone()
    assert row
    return row


def rows(connection: Connection, table: str, job_id: UUID) -> list[dict[str, Any]]:
    """The job's rows in another table."""
    order = {"attempts": "attempt", "outputs": "position", "usage_logs": "job_id"}[table]
    return connection.execute(f"SELECT * FROM {table} WHERE job_id = %s ORDER BY {order}", (job_id,)).fetchall()  # noqa: S608  # one of three


def expire(connection: Connection, job_id: UUID) -> None:
    """Let the job's lease have run out."""
    connection.execute("UPDATE jobs SET lease_until = now() - interval '1 s' WHERE job_id = %s", (job_id,))
