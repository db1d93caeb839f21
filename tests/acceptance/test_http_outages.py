"""What becomes of jobs when something under the service is gone: the queue, or all of it at once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.acceptance import job_steps as steps
from tests.acceptance import pictures
from tests.acceptance.running import (
    PIXELFLOW,
    client_of,
    descendants,
    new_home,
    paused,
    process_of,
    service_with,
    usage_rows,
    wait_for,
)
from tests.support.waiting import assert_within, eventually

from pixelflow.devstack.stack import Stack

PATIENCE_SECONDS = 1.0
"""A client may be kept waiting so long by a Redis that is away, and no longer."""
JOBS = 24


@pytest.fixture(scope="module")
def fragile_service() -> Iterator[Stack]:
    """A service whose Redis dies; a test starts it again, or lets it go on, before it ends."""
    with service_with({}) as stack:
        yield stack


def test_a_job_started_while_redis_is_dead_is_run_at_once(fragile_service: Stack) -> None:
    with client_of(fragile_service) as client:
        steps.done(client, pictures.photo())
        created = steps.create(client)
        steps.upload(created, pictures.photo())
        valkey = process_of(fragile_service, "valkey")
        os.kill(valkey.pid, signal.SIGKILL)
        wait_for(lambda: not valkey.alive, 5)
        _start_in_time(client, created)
        assert steps.finished(client, created["job_id"])["status"] == "succeeded"
        wait_for(lambda: client.get("/readyz").json()["checks"]["redis"] == "unavailable", 5)
        _restart(fragile_service)


def test_thirty_jobs_started_while_redis_hangs_are_run_meanwhile(fragile_service: Stack) -> None:
    with client_of(fragile_service) as client:
        steps.done(client, pictures.photo())
        jobs = [steps.create(client) for _ in range(30)]
        for created in jobs:
            steps.upload(created, pictures.photo())
        with paused(process_of(fragile_service, "valkey").pid):
            for created in jobs:
                _start_in_time(client, created)
            ends = [steps.finished(client, created["job_id"])["status"] for created in jobs]
    assert ends == ["succeeded"] * 30


def _start_in_time(client: httpx.Client, created: steps.Json) -> None:
    began = time.monotonic()
    assert steps.start(client, created).status_code == 202
    assert_within(PATIENCE_SECONDS, began)


def _restart(stack: Stack) -> None:
    def is_ready() -> bool:
        stack._supervisor.watch_once()
        return httpx.get(f"{stack.api_url}/readyz").status_code == 200

    eventually(is_ready)


class Up:
    """A running ``pixelflow up``."""

    def __init__(self, process: subprocess.Popen[bytes], home: Path) -> None:
        self.process = process
        self.credentials = json.loads((home / "credentials.json").read_text())
        self.family = descendants(process.pid)

    @contextlib.contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """A client with the key that it made."""
        headers = {"Authorization": f"Bearer {self.credentials['api_key']}"}
        with httpx.Client(base_url=self.credentials["api_url"], headers=headers, timeout=30) as client:
            yield client

    @property
    def database_url(self) -> str:
        """The database URL in the environment of its API."""
        api = next(each for each in self.family if each.command[-1] == "api")
        variables = Path(f"/proc/{api.pid}/environ").read_text().split("\0")
        return next(row.partition("=")[2] for row in variables if row.startswith("PIXELFLOW_DATABASE_URL="))

    def left_after(self, seconds: float) -> list[tuple[str, ...]]:
        """The commands of those of its processes that still live then, on a fast machine."""
        if seconds:
            with contextlib.suppress(AssertionError):
                eventually(lambda: not any(each.alive for each in self.family), seconds)
        return [each.command for each in self.family if each.alive]


@contextlib.contextmanager
def _up(home: Path) -> Iterator[Up]:
    environment = {**os.environ, "PIXELFLOW_LEASE_SECONDS": "5", "PIXELFLOW_WORKER_GRACE_SECONDS": "1"}
    command = [*PIXELFLOW, "up", f"--home={home}", "--api-port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment) as process:
        try:
            assert process.stdout
            said = []
            for line in process.stdout:
                said.append(line)
                if b"Ctrl-C" in line:
                    break
            assert b"Ctrl-C" in said[-1], said
            yield Up(process, home)
        finally:
            process.kill()


def test_jobs_survive_the_death_of_everything() -> None:
    with new_home() as home:
        with _up(home) as first, first.client() as client:
            job_ids = _start_together(client)
            wait_for(lambda: len(_with_status(client, "succeeded")) >= 5, 30)
            wait_for(lambda: len(_with_status(client, "processing")) >= 2, 30)
            first.process.kill()
            assert first.left_after(2) == []
        with _up(home) as again, again.client() as client:
            assert again.credentials["api_key"] == first.credentials["api_key"]
            jobs = [steps.finished(client, job_id, seconds=60) for job_id in job_ids]
            assert [job["status"] for job in jobs] == ["succeeded"] * JOBS
            assert usage_rows(again.database_url, job_ids) == dict.fromkeys(job_ids, 1)
            assert max(job["attempts"] for job in jobs) > 1, "some were cut short"
            for job in (jobs[0], jobs[-1]):
                assert pictures.opened(steps.download(job["outputs"][0]).content).width == 500
            again.process.terminate()
            again.process.wait(60)


def _start_together(client: httpx.Client) -> list[str]:
    source = pictures.noise(800, 600)
    pipeline = [steps.resize(f"s{width}", width=width, format="avif", quality=80) for width in (500, 600, 700)]
    made = [steps.create(client, *pipeline, size=len(source)) for _ in range(JOBS)]
    for created in made:
        steps.upload(created, source)
    for created in made:
        assert steps.start(client, created).status_code == 202
    return [created["job_id"] for created in made]


def _with_status(client: httpx.Client, status: str) -> list[steps.Json]:
    listed: list[steps.Json] = client.get("/v1/jobs", params={"status": status, "limit": 100}).json()["data"]
    return listed


def test_a_signal_ends_the_service_in_order_in_the_middle_of_a_job() -> None:
    with new_home() as home, _up(home) as running, running.client() as client:
        slow = [
            steps.resize(f"s{i}", width=3000, enlarge=True, format="avif") for i in range(30)
        ]  # many times the grace
        job_id = steps.started(client, pictures.noise(800, 600), *slow)["job_id"]
        wait_for(lambda: steps.show(client, job_id)["status"] == "processing", 10)
        running.family = descendants(running.process.pid)
        running.process.terminate()
        began = time.monotonic()
        assert running.process.wait(60) == 0
        assert_within(10, began)
        assert running.left_after(0) == []
        assert "job released" in (home / "logs" / "worker.log").read_text()
