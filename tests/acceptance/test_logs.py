"""The logs of every role in a real run, from the first line to the last: JSON with the same keys."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
import pytest
import redis
from tests.acceptance import job_steps as steps
from tests.acceptance import pictures
from tests.acceptance.running import client_of, database_url, process_of, service_with, transform_children, wait_for
from tests.support.webhook_receiver import Reply, receiving

from pixelflow.adapters.wakeup import KEY
from pixelflow.devstack.stack import Stack

SETTINGS = {
    "PIXELFLOW_LOG_LEVEL": "debug",
    "PIXELFLOW_WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8",
    "PIXELFLOW_WEBHOOK_ALLOW_HTTP": "true",
    "PIXELFLOW_LEASE_SECONDS": "2",
}
ROLES = ("api", "worker", "controller")
Line = dict[str, Any]


@dataclass
class RunLogs:
    """The lines of every role, and the IDs of the jobs."""

    lines: dict[str, list[Line]]
    jobs: dict[str, str]

    def of(self, role: str, event: str, **keys: object) -> list[Line]:
        """Lines of that event that have these keys and values."""
        return [
            line
            for line in self.lines[role]
            if line["event"].startswith(event) and all(line.get(key) == value for key, value in keys.items())
        ]


def _log(stack: Stack, role: str) -> list[str]:
    return (stack.home.path / "logs" / f"{role}.log").read_text().splitlines()


def _has_said(stack: Stack, role: str, *words: str) -> bool:
    return any(all(word in line for word in words) for line in _log(stack, role))


def _put_garbage(stack: Stack) -> None:
    with redis.Redis.from_url(stack.environment["PIXELFLOW_REDIS_URL"]) as client:
        client.lpush(KEY, "no message of ours")


def _lose_a_lease(stack: Stack, client: httpx.Client) -> str:
    """Have a job canceled while its child is at it."""
    slow = [steps.resize(f"s{number}", width=3000, format="avif") for number in range(8)]
    job_id: str = steps.started(client, pictures.noise(3000, 2000), *slow)["job_id"]
    wait_for(lambda: steps.show(client, job_id)["status"] == "processing", 20)
    assert client.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
    wait_for(lambda: _has_said(stack, "worker", "attempt aborted"), 30)
    return job_id


def _expire_a_lease(stack: Stack, client: httpx.Client) -> str:
    """Have a job in the hands of a worker that there is none of."""
    job_id: str = steps.create(client)["job_id"]
    with psycopg.connect(database_url(stack), options="-c pixelflow.tenant_scope=everyone") as connection:
        connection.execute(
            """
            WITH dead AS (
                UPDATE jobs SET status = 'processing', attempts = 5, lease_token = 7 WHERE job_id = %s RETURNING *
            ), leased AS (
                INSERT INTO job_queue (job_id, user_id, requirement_id, state, priority, due_at, lease_token,
                                       lease_until)
                SELECT job_id, user_id, 1, 'active', 1, now(), 7, now() - interval '1 s' FROM dead RETURNING *
            )
            INSERT INTO queue_lanes (user_id, requirement_id, active) SELECT user_id, requirement_id, 1 FROM leased
            ON CONFLICT (user_id, requirement_id) DO UPDATE SET active = queue_lanes.active + 1
            """,
            (job_id,),
        )
    wait_for(lambda: _has_said(stack, "controller", "lease expired"), 20)
    return job_id


def _kill_a_child(stack: Stack, client: httpx.Client) -> str:
    """Have a transform child die at its work."""
    steps.done(client, pictures.photo())  # so that there is one that has started already
    slow = [steps.resize(f"s{number}", width=3000, format="avif") for number in range(8)]
    job_id: str = steps.started(client, pictures.noise(3000, 2000), *slow)["job_id"]
    worker = process_of(stack, "worker")
    before = sum(child.cpu_ticks for child in transform_children(worker))
    wait_for(lambda: sum(child.cpu_ticks for child in transform_children(worker)) > before + 20, 20)
    for child in transform_children(worker):
        os.kill(child.pid, signal.SIGKILL)
    wait_for(lambda: _has_said(stack, "worker", "transform child died", job_id), 20)
    client.post(f"/v1/jobs/{job_id}/cancel")
    return job_id


def _restart_valkey(stack: Stack) -> None:
    """Make the processes log that Redis is unavailable."""
    os.kill(process_of(stack, "valkey").pid, signal.SIGKILL)

    def is_back() -> bool:
        stack._supervisor.watch_once()
        return _has_said(stack, "worker", '"wake-ups unavailable"') and _answers(stack)

    wait_for(is_back, 30)


def _answers(stack: Stack) -> bool:
    try:
        with redis.Redis.from_url(stack.environment["PIXELFLOW_REDIS_URL"]) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _share_a_connection(stack: Stack, client: httpx.Client) -> None:
    """As a proxy does: send a user's large request, then one of another client, over one connection."""
    with httpx.Client(base_url=stack.api_url, limits=httpx.Limits(max_connections=1), timeout=30) as proxy:
        headers = {"Authorization": client.headers["Authorization"]}
        large = proxy.post("/v1/jobs", json={"pad": "x" * 100_000}, headers=headers)
        assert large.status_code == 422
        other = {"X-Request-ID": "another-client-behind-the-same-proxy"}
        assert proxy.get("/v1/jobs", headers=other).status_code == 401


def _end(stack: Stack) -> None:
    """Stop every role and wait for its exit."""
    processes = [process_of(stack, role) for role in ROLES]
    for process in processes:
        os.kill(process.pid, signal.SIGTERM)
    wait_for(lambda: not any(process.alive for process in processes), 30)


@pytest.fixture(scope="module")
def logs() -> Iterator[RunLogs]:
    with service_with(SETTINGS) as stack, client_of(stack) as client, receiving(Reply(500), Reply()) as receiver:
        jobs = {
            "succeeded": steps.done(client, pictures.photo(), webhook_url=receiver.url)["job_id"],
            "failed": steps.done(client, b"no picture")["job_id"],
            "given up": _lose_a_lease(stack, client),
            "child died": _kill_a_child(stack, client),
            "expired": _expire_a_lease(stack, client),
        }
        _put_garbage(stack)
        client.get("/v1/jobs", headers={"X-Request-ID": "mine"})
        httpx.get(f"{stack.api_url}/v1/jobs?token=hush-hush")
        client.get("/v1/jobs/no-id")
        _share_a_connection(stack, client)
        wait_for(lambda: len(receiver.received) == 2, 20)
        wait_for(lambda: sum('"event": "webhook attempted"' in line for line in _log(stack, "controller")) == 2, 20)
        _restart_valkey(stack)
        _end(stack)
        yield RunLogs({role: [json.loads(line) for line in _log(stack, role)] for role in ROLES}, jobs)


@pytest.mark.parametrize("role", ROLES)
def test_every_line_is_json_with_the_common_keys(logs: RunLogs, role: str) -> None:
    assert logs.lines[role]
    for line in logs.lines[role]:
        assert {"timestamp", "level", "logger", "role", "event"} <= line.keys(), line
        assert line["role"] == role
        assert line["level"] in {"debug", "info", "warning", "error", "critical"}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_logs_its_start_and_its_end(logs: RunLogs, role: str) -> None:
    assert logs.of(role, "metrics served", port=logs.of(role, "metrics served")[0]["port"])
    first, last = {
        "api": ("Application startup complete", "Finished server process"),
        "worker": ("worker started", "worker stopped"),
        "controller": ("controller started", "controller stopped"),
    }[role]
    assert logs.of(role, first)
    assert logs.lines[role][-1]["event"].startswith(last)


def test_library_lines_have_the_same_form(logs: RunLogs) -> None:
    assert logs.of("api", "Started server process", logger="uvicorn.error")


KEYS = [
    ("api", "request", "succeeded", {"request_id", "user_id", "job_id", "method", "path", "status", "ms"}),
    ("worker", "succeeded", "succeeded", {"job_id", "user_id", "attempt", "fetch_ms", "transform_ms", "finish_ms"}),
    ("worker", "attempt failed", "failed", {"job_id", "user_id", "attempt", "stage", "code", "reason"}),
    ("worker", "lease lost", "given up", {"job_id", "user_id", "attempt"}),
    ("worker", "attempt aborted", "given up", {"job_id", "user_id", "attempt"}),
    ("worker", "transform child died", "child died", {"job_id", "user_id", "attempt", "reason", "pid"}),
    ("controller", "webhook attempted", "succeeded", {"job_id", "user_id", "event_id", "delivery_attempt", "outcome"}),
    ("controller", "lease expired", "expired", {"job_id", "user_id", "attempt", "attempts", "status"}),
]


@pytest.mark.parametrize(("role", "event", "job", "keys"), KEYS, ids=[f"{role}: {event}" for role, event, *_ in KEYS])
def test_lines_about_a_job_name_the_job_and_its_user(
    logs: RunLogs, role: str, event: str, job: str, keys: set[str]
) -> None:
    lines = logs.of(role, event, job_id=logs.jobs[job])
    assert lines
    for line in lines:
        assert keys <= line.keys(), line
        assert line["user_id"] == "user"


def test_a_failed_attempt_logs_its_stage_and_code(logs: RunLogs) -> None:
    (line,) = logs.of("worker", "attempt failed", job_id=logs.jobs["failed"])
    assert (line["stage"], line["code"], line["attempt"]) == ("transform", "unsupported_format", 1)


def test_a_request_logs_the_job_it_created(logs: RunLogs) -> None:
    created = logs.of("api", "request", method="POST", path="/v1/jobs", status=202)
    assert {line["job_id"] for line in created} >= set(logs.jobs.values())


def test_a_request_logs_the_client_s_request_id_and_the_error_code(logs: RunLogs) -> None:
    (line,) = logs.of("api", "request", request_id="mine")
    assert (line["status"], line["path"]) == (200, "/v1/jobs")
    assert "code" not in line
    (refused, _) = logs.of("api", "request", code="unauthenticated")
    assert (refused["status"], "user_id" in refused) == (401, False)
    (missing,) = logs.of("api", "request", path="/v1/jobs/no-id")
    assert (missing["code"], "job_id" in missing) == ("not_found", False)


def test_a_request_inherits_no_context_from_another_on_its_connection(logs: RunLogs) -> None:
    (line,) = logs.of("api", "request", request_id="another-client-behind-the-same-proxy")
    assert {"user_id", "job_id", "trace_id"} & set(line) == set()


def test_no_query_is_logged(logs: RunLogs) -> None:
    assert "hush-hush" not in json.dumps(logs.lines)
    assert "?" not in "".join(line.get("path", "") for line in logs.lines["api"])
