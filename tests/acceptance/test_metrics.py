"""The metrics of every role after a real run match what was done and what the database contains."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
import pytest
import redis
from tests.acceptance import job_steps as steps
from tests.acceptance import pictures
from tests.acceptance.running import (
    PIXELFLOW,
    client_of,
    database_url,
    leading_controller_paused,
    process_of,
    service_with,
    wait_for,
)
from tests.support.scraped import Scrape, scrape
from tests.support.webhook_receiver import Reply, receiving

from pixelflow.adapters.wakeup import KEY
from pixelflow.cli.exit_codes import ExitCode
from pixelflow.devstack.stack import Stack

ALLOWS_THIS_MACHINE = {"PIXELFLOW_WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8", "PIXELFLOW_WEBHOOK_ALLOW_HTTP": "true"}
SUCCEED, FAIL = 4, 2
TWO_OUTPUTS = (steps.resize("one", format="webp"), steps.resize("two", width=30, format="png"))


@dataclass
class Run:
    """What was done, and the metrics after it."""

    stack: Stack
    client: httpx.Client
    jobs: list[dict[str, Any]]
    api: Scrape
    worker: Scrape
    controller: Scrape

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the database holds."""
        with psycopg.connect(database_url(self.stack), options="-c pixelflow.tenant_scope=everyone") as connection:
            return connection.execute(query).fetchall()


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Jobs that succeed and that fail, one with a webhook delivered at the second attempt; one never started."""
    with service_with(ALLOWS_THIS_MACHINE) as stack, client_of(stack) as client:
        with receiving(Reply(500), Reply()) as receiver:
            jobs = [steps.done(client, pictures.photo(), *TWO_OUTPUTS) for _ in range(SUCCEED - 1)]
            jobs += [steps.done(client, b"no picture") for _ in range(FAIL)]
            jobs.append(steps.done(client, pictures.photo(), *TWO_OUTPUTS, webhook_url=receiver.url))
            steps.create(client)
            client.get("/v1/nothing/of/the/kind")
            wait_for(lambda: len(receiver.received) == 2, 15)
        _put_garbage(stack)
        wait_for(lambda: _is_counted(stack), 30)
        yield Run(stack, client, jobs, *(scrape(stack, role) for role in ("api", "worker", "controller")))


def _put_garbage(stack: Stack) -> None:
    with redis.Redis.from_url(stack.environment["PIXELFLOW_REDIS_URL"]) as client:
        client.lpush(KEY, "no message of ours")


def _is_counted(stack: Stack) -> bool:
    """Metrics follow the work a moment later."""
    worker, controller = scrape(stack, "worker"), scrape(stack, "controller")
    return (
        sum(worker.by("status", "pixelflow_worker_jobs_total").values()) == SUCCEED + FAIL
        and controller.by("outcome", "pixelflow_webhook_deliveries_total") == {"retried": 1, "delivered": 1}
        and controller("pixelflow_webhook_events_pending") == 0
    )


def test_requests_are_counted_by_route_and_status(run: Run) -> None:
    name = "pixelflow_api_requests_total"
    started = run.api(name, method="POST", route="/v1/jobs/{job_id}/start", status="202")
    assert started == SUCCEED + FAIL
    assert run.api(name, method="POST", route="/v1/jobs", status="202") == SUCCEED + FAIL + 1
    assert run.api(name, method="GET", route="unmatched", status="404") == 1
    assert run.api("pixelflow_api_request_duration_seconds_count", method="POST", route="/v1/jobs") == (
        SUCCEED + FAIL + 1
    )
    assert run.api("pixelflow_queue_jobs_enqueued_total", queue="images") == SUCCEED + FAIL


def test_attempts_are_counted_by_outcome_and_match_the_database(run: Run) -> None:
    assert run.worker.by("status", "pixelflow_worker_jobs_total") == {"succeeded": SUCCEED, "failed": FAIL}
    codes = dict(run.rows("SELECT error->>'code', count(*) FROM attempts WHERE error IS NOT NULL GROUP BY 1"))
    assert run.worker.by("code", "pixelflow_worker_failures_total") == codes == {"unsupported_format": FAIL}
    assert run.worker.by("format", "pixelflow_worker_pipeline_outputs_total") == {"webp": SUCCEED, "png": SUCCEED}
    assert run.worker("pixelflow_worker_job_duration_seconds_count", source_type="s3_presigned") == SUCCEED + FAIL


def test_every_stage_is_measured_once_per_attempt_that_reached_it(run: Run) -> None:
    counts = run.worker.by("stage", "pixelflow_worker_stage_duration_seconds_count")
    assert counts == {
        **dict.fromkeys(["queue", "fetch", "wait", "transform"], SUCCEED + FAIL),
        **dict.fromkeys(["store", "finish"], SUCCEED),
    }
    sums = run.worker.by("stage", "pixelflow_worker_stage_duration_seconds_sum")
    kept = run.rows("SELECT coalesce(sum((stages->>'transform')::int), 0) FROM attempts")[0][0]
    assert sums["transform"] == pytest.approx(kept / 1000)
    durations = run.worker("pixelflow_worker_job_duration_seconds_sum", source_type="s3_presigned")
    assert sum(sums.values()) - sums.get("queue", 0) <= durations + 0.1


def test_usage_metrics_match_the_billed_usage(run: Run) -> None:
    [billed] = run.rows("SELECT sum(pixels_processed), sum(bytes_saved), sum(compute_time_ms) FROM usage_logs")
    names = ("pixels_processed", "bytes_saved", "compute_time_ms")
    assert [run.worker(f"pixelflow_usage_{name}_total") for name in names] == [float(each) for each in billed]


def test_a_worker_reports_its_slots(run: Run) -> None:
    assert run.worker("pixelflow_worker_slots") == 2
    assert run.worker("pixelflow_worker_active_jobs") == 0
    assert run.worker("pixelflow_worker_children_started_total") >= 1


def test_the_controller_reports_the_database_and_deliveries(run: Run) -> None:
    assert run.controller.by("outcome", "pixelflow_webhook_deliveries_total") == {"retried": 1, "delivered": 1}
    assert run.controller.has("pixelflow_queue_oldest_seconds")
    assert run.controller("pixelflow_queue_oldest_seconds") == 0
    loops = {
        "lease_reaper",
        "webhook_dispatcher",
        "auto_starter",
        "batch_finisher",
        "stats_collector",
        "gc_files",
        "gc_rows",
        "gc_assets",
    }
    assert loops <= set(run.controller.by("loop", "pixelflow_controller_rounds_total"))
    assert set(run.controller.by("outcome", "pixelflow_controller_rounds_total")) <= {"done", "idle"}


@pytest.mark.parametrize("role", ["api", "worker", "controller"])
def test_every_role_reports_its_role_and_its_dependencies(run: Run, role: str) -> None:
    samples = scrape(run.stack, role)
    up = samples.by("dependency", "pixelflow_dependency_up")
    assert up == {"postgres": 1, "object_storage": 1} | ({} if role == "controller" else {"redis": 1})
    assert samples.by("role", "pixelflow_build_info") == {role: 1}
    assert samples("process_resident_memory_bytes") > 0


def test_the_home_contains_the_metrics_urls(run: Run) -> None:
    assert json.loads((run.stack.home.path / "metrics.json").read_text()) == run.stack.metrics_urls


@contextmanager
def _another(stack: Stack, role: str) -> Iterator[tuple[str, str]]:
    """One more process on the same servers: where it listens, if it does, and, by its log, where its metrics are."""
    environment = {**os.environ, **stack.environment}
    with socket.create_server(("127.0.0.1", 0)) as listening:
        environment["PIXELFLOW_API_SOCKET"] = str(listening.fileno())
        with subprocess.Popen(
            [*PIXELFLOW, role], env=environment, pass_fds=[listening.fileno()], stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stderr
                served = next(line for line in map(json.loads, process.stderr) if line["event"] == "metrics served")
                yield (
                    f"http://127.0.0.1:{listening.getsockname()[1]}",
                    f"http://{served['address']}:{served['port']}/metrics",
                )
            finally:
                process.terminate()
                process.communicate()


def test_one_controller_reports_the_database_figures_and_another_takes_over(run: Run) -> None:
    name = "pixelflow_usage_active_users"
    assert scrape(run.stack, "controller").has(name)
    with _another(run.stack, "controller") as (_, metrics):
        assert not Scrape(httpx.get(metrics).text).has(name)
        with leading_controller_paused(run.stack):
            wait_for(lambda: Scrape(httpx.get(metrics).text).has(name), 20)
            samples = Scrape(httpx.get(metrics).text)
    assert samples.by("status", "pixelflow_jobs") == {"created": 1, "succeeded": SUCCEED, "failed": FAIL}
    assert samples(name) == 1
    assert samples.by("user_id", "pixelflow_usage_top_pixels_processed") == {}, "users are named only on request"
    assert samples.by("outcome", "pixelflow_webhook_deliveries_total") == {}, "it counts only its own deliveries"


def test_two_apis_count_only_their_own_requests(run: Run) -> None:
    name, labels = "pixelflow_api_requests_total", {"method": "GET", "route": "/v1/jobs", "status": "200"}
    before = scrape(run.stack, "api")(name, **labels)
    with _another(run.stack, "api") as (url, metrics):
        for _ in range(3):
            answer = httpx.get(f"{url}/v1/jobs", headers=dict(run.client.headers), timeout=30)
            assert answer.status_code == 200
        run.client.get("/v1/jobs")
        samples = Scrape(httpx.get(metrics).text)
    assert samples(name, **labels) == 3
    assert scrape(run.stack, "api")(name, **labels) == before + 1


@pytest.mark.parametrize("role", ["api", "worker", "controller"])
def test_a_process_whose_metrics_port_is_taken_does_not_start_and_names_the_setting(run: Run, role: str) -> None:
    port = run.stack.metrics_urls[role].rpartition(":")[2].partition("/")[0]
    environment = {**os.environ, **run.stack.environment, "PIXELFLOW_METRICS_PORT": port}
    ended = subprocess.run(
        [*PIXELFLOW, role], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == ExitCode.MISCONFIGURED
    assert ended.stderr.count("\n") == 1
    assert f"PIXELFLOW_METRICS_PORT is not valid: cannot listen on port {port} of 127.0.0.1" in ended.stderr


def test_a_restarted_role_serves_metrics_on_the_same_port(run: Run) -> None:
    before = process_of(run.stack, "controller")
    os.kill(before.pid, signal.SIGKILL)
    wait_for(lambda: _is_back(run.stack), 30)
    assert process_of(run.stack, "controller") != before


def _is_back(stack: Stack) -> bool:
    stack._supervisor.watch_once()
    try:
        return httpx.get(stack.metrics_urls["controller"]).status_code == 200
    except httpx.TransportError:
        return False
