"""What dies, one thing at a time, and what becomes of the jobs in its hands."""

from __future__ import annotations

import json
import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import redis
from tests.chaos.actor import Actor
from tests.chaos.conftest import LEASE_SECONDS, MAX_ATTEMPTS, Owner
from tests.chaos.evidence import bucket
from tests.chaos.faults import children_of
from tests.chaos.stage import Stage

from pixelflow.adapters.wakeup import KEY
from pixelflow.contracts.messages import SCHEMA

Database = psycopg.Connection[dict[str, Any]]


def attempts_of(database: Database, job_id: str) -> list[dict[str, Any]]:
    return database.execute("SELECT * FROM attempts WHERE job_id = %s ORDER BY attempt", (job_id,)).fetchall()


def usage_of(database: Database, job_id: str) -> list[dict[str, Any]]:
    return database.execute("SELECT * FROM usage_logs WHERE job_id = %s", (job_id,)).fetchall()


def worker_of(stage: Stage, attempt: dict[str, Any]) -> Actor:
    pid = int(attempt["worker_id"].rpartition(":")[2])
    return next(worker for worker in stage.workers if worker.pid == pid)


def log_of(actor: Actor) -> list[dict[str, Any]]:
    assert actor.child is not None
    lines = Path(actor.child.log).read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def test_a_flushed_redis_costs_none_of_200_queued_jobs(stage: Stage, owner: Owner, database: Database) -> None:
    pids = [worker.pause() for worker in stage.workers]
    jobs = [owner.submit() for _ in range(200)]
    with redis.Redis.from_url(stage.environment["PIXELFLOW_REDIS_URL"]) as client:
        client.flushall()
    for worker, pid in zip(stage.workers, pids, strict=True):
        assert pid is not None
        worker.resume(pid)

    def finished() -> bool:
        row = database.execute(
            "SELECT count(*) AS n FROM jobs WHERE user_id = %s AND status = 'succeeded'", (owner.user_id,)
        ).fetchone()
        return row is not None and row["n"] == len(jobs)

    owner.stage_until(finished, 30)


def test_a_worker_that_wakes_after_its_lease_writes_nothing(stage: Stage, owner: Owner, database: Database) -> None:
    job_id = owner.submit_slow()
    [first] = attempts_of(database, job_id)
    sleeper = worker_of(stage, first)
    pid = sleeper.pause()
    assert pid is not None
    owner.stage_until(lambda: len(attempts_of(database, job_id)) == 2, LEASE_SECONDS + 5)
    sleeper.resume(pid)

    owner.stage_until(lambda: owner.job(job_id)["status"] == "succeeded", 15)

    def refused() -> bool:
        lines = [line for line in log_of(sleeper) if line.get("job_id") == job_id]
        return any(line["event"].startswith("attempt aborted") for line in lines)

    owner.stage_until(refused, 10)
    assert [attempt["outcome"] for attempt in attempts_of(database, job_id)] == ["lost", "succeeded"]
    assert len(usage_of(database, job_id)) == 1
    assert {output["object_key"].split("/")[2] for output in owner.job(job_id)["outputs"]} == {"2"}


def test_a_leaving_worker_hands_its_job_to_another_within_2_s(stage: Stage, owner: Owner, database: Database) -> None:
    job_id = owner.submit_slow()
    [first] = attempts_of(database, job_id)
    worker_of(stage, first).ask_to_end(down_seconds=1)

    seconds = owner.stage_until(lambda: len(attempts_of(database, job_id)) == 2, 10)

    assert seconds < 2 + 0.3  # its grace
    assert attempts_of(database, job_id)[0]["outcome"] == "retried"
    assert owner.job(job_id)["attempts"] == 1
    owner.stage_until(lambda: owner.job(job_id)["status"] == "succeeded", 15)


def test_a_job_that_kills_its_child_each_time_fails_in_the_end(stage: Stage, owner: Owner, database: Database) -> None:
    job_id = owner.submit_slow()

    def killed_until_it_fails() -> bool:
        for attempt in attempts_of(database, job_id):
            if attempt["ended_at"] is None:
                pid = worker_of(stage, attempt).pid
                for child in children_of(pid) if pid else []:
                    os.kill(child, signal.SIGKILL)
        return bool(owner.job(job_id)["status"] == "failed")

    owner.stage_until(killed_until_it_fails, 15)

    job = owner.job(job_id)
    assert job["error"]["code"] == "attempts_exhausted"
    assert job["attempts"] == len(attempts_of(database, job_id)) == MAX_ATTEMPTS
    assert usage_of(database, job_id) == []


def test_erase_is_finished_by_the_next_controller(stage: Stage, owner: Owner, database: Database) -> None:
    job_id = owner.submit()
    owner.stage_until(lambda: owner.job(job_id)["status"] == "succeeded", 10)
    of_dead_attempt = f"outputs/{job_id}/99/thumb.webp"
    bucket(stage).put(of_dead_attempt, b"what an attempt stored before its worker died")
    [controller] = stage.controllers
    controller.kill(down_seconds=0.5)

    owner.client.delete(f"/v1/jobs/{job_id}").raise_for_status()

    assert owner.client.get(f"/v1/jobs/{job_id}").status_code == 404
    owner.stage_until(lambda: not [key for key in _keys(stage) if job_id in key], 15)
    assert len(usage_of(database, job_id)) == 1
    assert database.execute("SELECT FROM outputs WHERE job_id = %s", (job_id,)).fetchall() == []


def _keys(stage: Stage) -> list[str]:
    return [meta["path"] for batch in bucket(stage).list() for meta in batch]


def test_a_forged_message_neither_runs_what_is_not_queued_nor_bills_anybody_else(
    stage: Stage, owner: Owner, database: Database
) -> None:
    never_started, over = owner.create(), owner.submit()
    owner.stage_until(lambda: owner.job(over)["status"] == "succeeded", 10)
    pids = [worker.pause() for worker in stage.workers]
    queued = owner.submit()

    for job_id in (never_started, over, queued, queued):
        _forge(stage, {"job_id": job_id, "user_id": "mallory"})
    for worker, pid in zip(stage.workers, pids, strict=True):
        assert pid is not None
        worker.resume(pid)

    owner.stage_until(lambda: owner.job(queued)["status"] == "succeeded", 10)
    after = owner.submit()
    owner.stage_until(lambda: owner.job(after)["status"] == "succeeded", 10)
    assert owner.job(never_started)["status"] == "created"
    for job_id in (over, queued):
        assert len(attempts_of(database, job_id)) == 1
        assert [usage["user_id"] for usage in usage_of(database, job_id)] == [owner.user_id]
    assert database.execute("SELECT FROM usage_logs WHERE user_id = 'mallory'").fetchall() == []


def _forge(stage: Stage, said: dict[str, str]) -> None:
    """What somebody who can write to Redis can write to Redis."""
    with redis.Redis.from_url(stage.environment["PIXELFLOW_REDIS_URL"]) as client:
        body = {"schema": SCHEMA, "version": 1, "requested_at": datetime.now(UTC).isoformat(), **said}
        client.lpush(KEY, json.dumps(body))
