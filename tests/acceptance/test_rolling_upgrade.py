"""Two releases side by side: this one, and a next one that has introduced a format in the next contract."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
from tests.acceptance import job_steps as steps
from tests.acceptance import pictures
from tests.acceptance.running import (
    Running,
    client_of,
    database_url,
    process_of,
    started,
    wait_for,
    worker_paused,
    worker_role,
)
from tests.support.scraped import Scrape

from pixelflow.contracts.capabilities import CONTRACT
from pixelflow.devstack.stack import Stack

NEW_FORMAT = "avif"
NEXT_CONTRACT = CONTRACT + 1
NEXT_RELEASE = f"""
from dataclasses import replace
from pixelflow.contracts import capabilities
from pixelflow.imaging.formats.registry import OUTPUT_FORMATS
capabilities.CONTRACT = {NEXT_CONTRACT}
OUTPUT_FORMATS[{NEW_FORMAT!r}] = replace(OUTPUT_FORMATS[{NEW_FORMAT!r}], since={NEXT_CONTRACT})
from pixelflow.cli.main import main
main()
"""
BACKLOG_SECONDS = 20.0
"""The controller counts jobs every five seconds."""


@pytest.fixture
def old_worker(service: Stack) -> Iterator[Running]:
    """The only worker of this release that runs."""
    with worker_paused(service), started(service, [worker_role(service, "old-worker")]):
        yield process_of(service, "old-worker")


@contextlib.contextmanager
def _next_release(stack: Stack, role: str) -> Iterator[tuple[int, str]]:
    """A process of the next release: its process id, and its URL if it is the API."""
    environment = {**os.environ, **stack.environment_of(role)}
    with socket.create_server(("127.0.0.1", 0)) as listening:
        environment["PIXELFLOW_API_SOCKET"] = str(listening.fileno())
        with subprocess.Popen(
            [sys.executable, "-c", NEXT_RELEASE, role],
            env=environment, pass_fds=[listening.fileno()], stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            try:
                yield process.pid, f"http://127.0.0.1:{listening.getsockname()[1]}"
            finally:
                process.terminate()


def _new_job(client: httpx.Client) -> dict[str, Any]:
    return steps.started(client, pictures.photo(), steps.resize(format=NEW_FORMAT))


def _workers_of(stack: Stack, job_id: str) -> list[int]:
    """Process ids of the workers that have attempted a job."""
    with psycopg.connect(database_url(stack), options="-c pixelflow.tenant_scope=everyone") as connection:
        rows = connection.execute("SELECT worker_id FROM attempts WHERE job_id = %s", (job_id,)).fetchall()
    return [int(worker_id.rpartition(":")[2]) for (worker_id,) in rows]


def _unclaimable(stack: Stack) -> dict[str, float]:
    metrics = Scrape(httpx.get(stack.metrics_urls["controller"]).text)
    return metrics.by("requirement", "pixelflow_queue_unclaimable_jobs")


def test_jobs_wait_for_a_worker_of_the_release_that_they_require(service: Stack, old_worker: Running) -> None:
    stack = service
    with (
        _next_release(stack, "api") as (_, url),
        client_of(stack) as old_api,
        httpx.Client(base_url=url, headers=dict(old_api.headers), timeout=30) as new_api,
    ):
        new_job = _new_job(new_api)["job_id"]
        for _ in range(3):
            old_job = steps.done(new_api, pictures.photo())
            assert old_job["status"] == "succeeded"
            assert _workers_of(stack, old_job["job_id"]) == [old_worker.pid]
        for api in (new_api, old_api):
            waiting = steps.show(api, new_job)
            assert (waiting["status"], waiting["waiting_for"]) == ("queued", [f"contract/{NEXT_CONTRACT}"])
        wait_for(lambda: _unclaimable(stack) == {f"contract/{NEXT_CONTRACT}": 1}, BACKLOG_SECONDS)  # the alert's metric
        assert _workers_of(stack, new_job) == []
        with _next_release(stack, "worker") as (new_worker, _):
            done = steps.finished(new_api, new_job)
            assert (done["status"], done["attempts"]) == ("succeeded", 1)
            assert _workers_of(stack, new_job) == [new_worker]
            os.kill(old_worker.pid, signal.SIGTERM)
            wait_for(lambda: not old_worker.alive, 10)
            for api in (old_api, new_api):
                done = steps.done(api, pictures.photo())
                assert (done["status"], done["attempts"]) == ("succeeded", 1)
                assert _workers_of(stack, done["job_id"]) == [new_worker]
