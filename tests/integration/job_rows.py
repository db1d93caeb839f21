"""Rows of jobs in any status, as the tests of loops and workers find them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.postgres.database import Connection
from pixelflow.contracts.capabilities import worker_capabilities
from pixelflow.dataplane.worker import store
from pixelflow.dataplane.worker.store import ClaimedJob

LEASE = timedelta(seconds=30)
CAPABILITIES = worker_capabilities()
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
    row = {
        "job_id": new_id(),
        "user_id": "user",
        "status": status,
        "source_type": "s3_presigned",
        "source_key": "uploads/x/source",
        "pipeline": Jsonb([STEP]),
        "max_attempts": max_attempts,
        **columns,
    }
    finished = status in {"succeeded", "failed", "canceled"}
    with connection.transaction():  # a worker must not claim the job before it is in its state
        connection.execute(
            f"""
            INSERT INTO jobs ({", ".join(row)}, finished_at)
            VALUES ({", ".join(f"%({name})s" for name in row)}, CASE WHEN %(finished)s THEN now() END)
            """,  # noqa: S608  # column names of this file
            {**row, "finished": finished},
        )
        if status in {"queued", "processing"}:
            _enqueue(connection, row["job_id"], active=status == "processing", due_in=due_in)
    job_id: UUID = row["job_id"]
    return job_id


def _enqueue(connection: Connection, job_id: UUID, *, active: bool, due_in: float) -> None:
    connection.execute("SELECT enqueue_job(%s, NULL)", (job_id,))
    state = "active" if active else "delayed" if due_in > 0 else "waiting"
    connection.execute(
        """
        WITH moved AS (
            UPDATE job_queue SET state = %(state)s, due_at = now() + make_interval(secs => %(due_in)s),
                                 lease_until = CASE WHEN %(state)s = 'active' THEN now() + interval '30 s' END
            WHERE job_id = %(job_id)s RETURNING *
        )
        SELECT move_lane(user_id, requirement_id, CASE state WHEN 'waiting' THEN 0 ELSE -1 END,
                         CASE state WHEN 'active' THEN 1 ELSE 0 END, 0, NULL) FROM moved
        """,
        {"job_id": job_id, "state": state, "due_in": due_in},
    )


def claim(
    connection: Connection, job_id: UUID, *, lease: timedelta = LEASE, worker_id: str = "worker"
) -> ClaimedJob | None:
    """Claim that job, if it can be claimed: it is moved to the front first. There must be no job of another user."""
    connection.execute("UPDATE job_queue SET priority = CASE WHEN job_id = %s THEN -1 ELSE 1 END", (job_id,))
    jobs = store.claim(connection, places=1, capabilities=CAPABILITIES, worker_id=worker_id, lease=lease)
    assert {job.job_id for job in jobs} <= {job_id}
    return jobs[0] if jobs else None


def claimed(connection: Connection, **columns: Any) -> ClaimedJob:  # noqa: ANN401  # as for `put`
    """A job in a worker's hands."""
    job = claim(connection, put(connection, **columns))
    assert job
    return job


def queue_row(connection: Connection, job_id: UUID) -> dict[str, Any] | None:
    """The job's row in the queue, if it is in it."""
    return connection.execute("SELECT * FROM job_queue WHERE job_id = %s", (job_id,)).fetchone()


def make_due(connection: Connection) -> None:
    """Let the delays of all jobs be over."""
    connection.execute("UPDATE job_queue SET due_at = now() WHERE state = 'delayed'")
    store.promote_due(connection, limit=1000)


def steal(connection: Connection) -> None:
    """Let another worker have claimed all jobs since."""
    connection.execute("UPDATE jobs SET lease_token = lease_token + 1")
    connection.execute("UPDATE job_queue SET lease_token = lease_token + 1")


def assert_lanes_match(connection: Connection) -> None:
    """The counts of the lanes are those of the rows of the queue, and each row has a lane."""
    wrong = connection.execute(
        """
        WITH counted AS (
            SELECT user_id, requirement_id, count(*) FILTER (WHERE state = 'waiting') AS waiting FROM job_queue
            GROUP BY user_id, requirement_id
        ), active AS (
            SELECT user_id, count(*) AS active FROM job_queue WHERE state = 'active' GROUP BY user_id
        )
        SELECT * FROM queue_lanes AS lane
        LEFT JOIN counted USING (user_id, requirement_id) LEFT JOIN active USING (user_id)
        WHERE lane.waiting <> coalesce(counted.waiting, 0) OR lane.active <> coalesce(active.active, 0)
        """
    ).fetchall()
    assert wrong == []
    lost = connection.execute(
        "SELECT * FROM job_queue LEFT JOIN queue_lanes AS lane USING (user_id, requirement_id) WHERE lane IS NULL"
    ).fetchall()
    assert lost == []


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
    connection.execute("UPDATE job_queue SET lease_until = now() - interval '1 s' WHERE job_id = %s", (job_id,))
