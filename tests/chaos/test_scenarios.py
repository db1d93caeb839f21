"""Single faults, and their effect on the affected jobs."""

from __future__ import annotations

import json
import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import redis
from tests.chaos.cluster import Cluster
from tests.chaos.conftest import LEASE_SECONDS, MAX_ATTEMPTS, Owner
from tests.chaos.evidence import bucket
from tests.chaos.faults import children_of
from tests.chaos.managed_process import ManagedProcess

from pixelflow.adapters.wakeup import KEY
from pixelflow.contracts.messages import SCHEMA

Database = psycopg.Connection[dict[str, Any]]


def attempts_of(database: Database, job_id: str) -> list[dict[str, Any]]:
    return database.execute("SELECT * FROM attempts WHERE job_id = %s ORDER BY attempt", (job_id,)).fetchall()


def usage_of(database: Database, job_id: str) -> list[dict[str, Any]]:
    return database.execute("SELECT * FROM usage_logs WHERE job_id = %s", (job_id,)).fetchall()


def worker_of(cluster: Cluster, attempt: dict[str, Any]) -> ManagedProcess:
    pid = int(attempt["worker_id"].rpartition(":")[2])
    return next(worker for worker in cluster.workers if worker.pid == pid)


def log_of(process: ManagedProcess) -> list[dict[str, Any]]:
    assert process.child is not None
    lines = Path(process.child.log).read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def test_flushing_redis_loses_none_of_60_queued_jobs(cluster: Cluster, owner: Owner, database: Database) -> None:
    pids = [worker.pause() for worker in cluster.workers]
    jobs = [owner.submit() for _ in range(60)]
    with redis.Redis.from_url(cluster.environment["PIXELFLOW_REDIS_URL"]) as client:
        client.flushall()
    for worker, pid in zip(cluster.workers, pids, strict=True):
        assert pid is not None
        worker.resume(pid)

    def finished() -> bool:
        row = database.execute(
            "SELECT count(*) AS n FROM jobs WHERE user_id = %s AND status = 'succeeded'", (owner.user_id,)
        ).fetchone()
        return row is not None and row["n"] == len(jobs)

    owner.wait_until(finished, 30)


def test_a_worker_resumed_after_its_lease_expired_writes_nothing(
    cluster: Cluster, owner: Owner, database: Database
) -> None:
    job_id = owner.submit_slow()
    [first] = attempts_of(database, job_id)
    paused_worker = worker_of(cluster, first)
    pid = paused_worker.pause()
    assert pid is not None
    owner.wait_until(lambda: len(attempts_of(database, job_id)) == 2, LEASE_SECONDS + 5)
    paused_worker.resume(pid)

    owner.wait_until(lambda: owner.job(job_id)["status"] == "succeeded", 15)

    def refused() -> bool:
        lines = [line for line in log_of(paused_worker) if line.get("job_id") == job_id]
        return any(line["event"].startswith("attempt aborted") for line in lines)

    owner.wait_until(refused, 10)
    assert [attempt["outcome"] for attempt in attempts_of(database, job_id)] == ["lost", "succeeded"]
    assert len(usage_of(database, job_id)) == 1
    assert {output["object_key"].split("/")[2] for output in owner.job(job_id)["outputs"]} == {"2"}


def test_a_stopping_worker_releases_its_job_to_another_within_2_s(
    cluster: Cluster, owner: Owner, database: Database
) -> None:
    job_id = owner.submit_slow()
    [first] = attempts_of(database, job_id)
    worker_of(cluster, first).request_stop(down_seconds=1)

    seconds = owner.wait_until(lambda: len(attempts_of(database, job_id)) == 2, 10)

    assert seconds < 2 + 0.3  # its grace
    assert attempts_of(database, job_id)[0]["outcome"] == "retried"
    assert owner.job(job_id)["attempts"] == 1
    owner.wait_until(lambda: owner.job(job_id)["status"] == "succeeded", 15)


def test_a_job_that_kills_its_child_in_every_attempt_fails(cluster: Cluster, owner: Owner, database: Database) -> None:
    job_id = owner.submit_slow()

    def killed_until_it_fails() -> bool:
        for attempt in attempts_of(database, job_id):
            if attempt["ended_at"] is None:
                pid = worker_of(cluster, attempt).pid
                for child in children_of(pid) if pid else []:
                    os.kill(child, signal.SIGKILL)
        return bool(owner.job(job_id)["status"] == "failed")

    owner.wait_until(killed_until_it_fails, 15)

    job = owner.job(job_id)
    assert job["error"]["code"] == "attempts_exhausted"
    assert job["attempts"] == len(attempts_of(database, job_id)) == MAX_ATTEMPTS
    assert usage_of(database, job_id) == []


def test_the_next_controller_finishes_an_erase(cluster: Cluster, owner: Owner, database: Database) -> None:
    job_id = owner.submit()
    owner.wait_until(lambda: owner.job(job_id)["status"] == "succeeded", 10)
    of_dead_attempt = f"outputs/{job_id}/99/thumb.webp"
    bucket(cluster).put(of_dead_attempt, b"what an attempt stored before its worker died")
    [controller] = cluster.controllers
    controller.kill(down_seconds=0.5)

    owner.client.delete(f"/v1/jobs/{job_id}").raise_for_status()

    assert owner.client.get(f"/v1/jobs/{job_id}").status_code == 404
    owner.wait_until(lambda: not [key for key in _keys(cluster) if job_id in key], 15)
    assert len(usage_of(database, job_id)) == 1
    assert database.execute("SELECT FROM outputs WHERE job_id = %s", (job_id,)).fetchall() == []


def _keys(cluster: Cluster) -> list[str]:
    return [meta["path"] for batch in bucket(cluster).list() for meta in batch]


def test_a_forged_message_runs_only_queued_jobs_and_bills_only_their_owner(
    cluster: Cluster, owner: Owner, database: Database
) -> None:
    never_started, over = owner.create(), owner.submit()
    owner.wait_until(lambda: owner.job(over)["status"] == "succeeded", 10)
    pids = [worker.pause() for worker in cluster.workers]
    queued = owner.submit()

    for job_id in (never_started, over, queued, queued):
        _forge(cluster, {"job_id": job_id, "user_id": "mallory"})
    for worker, pid in zip(cluster.workers, pids, strict=True):
        assert pid is not None
        worker.resume(pid)

    owner.wait_until(lambda: owner.job(queued)["status"] == "succeeded", 10)
    after = owner.submit()
    owner.wait_until(lambda: owner.job(after)["status"] == "succeeded", 10)
    assert owner.job(never_started)["status"] == "created"
    for job_id in (over, queued):
        assert len(attempts_of(database, job_id)) == 1
        assert [usage["user_id"] for usage in usage_of(database, job_id)] == [owner.user_id]
    assert database.execute("SELECT FROM usage_logs WHERE user_id = 'mallory'").fetchall() == []


def _forge(cluster: Cluster, fields: dict[str, str]) -> None:
    """Send a message as anyone with write access to Redis can."""
    with redis.Redis.from_url(cluster.environment["PIXELFLOW_REDIS_URL"]) as client:
        body = {"schema": SCHEMA, "version": 1, "requested_at": datetime.now(UTC).isoformat(), **fields}
        client.lpush(KEY, json.dumps(body))
