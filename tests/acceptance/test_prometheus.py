"""Debian's Prometheus beside a whole PixelFlow: what it has scraped is what has happened, and every panel has data."""

from __future__ import annotations

import math
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.acceptance.counted_run import Counted, Counts, Run, billed
from tests.acceptance.running import client_of, leading_controller_paused, service_with, wait_for
from tests.support import dashboard, prometheus
from tests.support.dashboard import Shown
from tests.support.prometheus import Labels, Prometheus, labels
from tests.support.webhook_receiver import Reply, receiving

from pixelflow.devstack.ports import ReservedPorts
from pixelflow.devstack.stack import Role, Stack

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
PATIENCE_SECONDS = 20.0
WHOLE = "10m"
"""Longer than the run."""
SUCCEEDED, FAILED, CANCELED = 6, 1, 1
"""Jobs."""


@dataclass(frozen=True)
class Scraped:
    """What Prometheus knows after the run, and what has happened in it."""

    prometheus: Prometheus
    counted: Counted
    stack: Stack
    second_controller: str
    """Its instance, as Prometheus calls it."""

    def sums(self, metric: str, *by: str) -> dict[Labels, float]:
        """The metric's values, all processes together, by these labels; those that are 0 left out."""
        found = self.prometheus.now(f"sum by ({', '.join(by)}) ({metric})")
        return {each: value for each, value in found.items() if value}

    def settle(self) -> None:
        """Wait until Prometheus has seen the end of the run."""
        wait_for(lambda: self.sums("pixelflow_webhook_deliveries_total", "outcome") == self.counted.deliveries, 20)
        wait_for(lambda: self.sums("pixelflow_worker_jobs_total", "source_type", "status") == self.counted.attempts, 20)
        # Each controller counts what waits every few seconds.
        wait_for(lambda: self.prometheus.now("max(pixelflow_queue_oldest_seconds)") == {labels(): 0}, 20)

    def jobs(self) -> dict[Labels, float]:
        """By status, as the controller counts them that came at the end; the first one does so once a minute."""
        return self.prometheus.now(f'sum by (status) (pixelflow_jobs{{instance="{self.second_controller}"}})')


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="pixelflow-test-")).resolve()
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def scraped(folder: Path) -> Iterator[Scraped]:
    """A run, and a Prometheus that has watched it from the start."""
    prometheus.program("prometheus")
    settings = {
        "PIXELFLOW_WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8",
        "PIXELFLOW_WEBHOOK_ALLOW_HTTP": "true",
        "PIXELFLOW_LOCAL_ROOTS": str(folder),
        "PIXELFLOW_LOCAL_ACCESS": "shared",
        "PIXELFLOW_METRICS_TOP_USERS": "5",
        "PIXELFLOW_RATE_LIMIT_ENABLED": "true",
        "PIXELFLOW_RATE_LIMIT_CAPACITY": "1000000",
        "PIXELFLOW_RATE_LIMIT_WINDOW_SECONDS": "3600",
    }
    with service_with(settings) as stack, client_of(stack) as client, ReservedPorts(lambda _: None) as ports:
        second = ports.choose_next(0, ["controller-2"])["controller-2"]
        targets = {f"pixelflow-{role}": [urlsplit(url).netloc] for role, url in stack.metrics_urls.items()}
        targets["pixelflow-controller"].append(f"127.0.0.1:{second}")
        with prometheus.scraping(targets, new_folder(folder), rules=[RULES]) as server:
            run = Run(stack, client, folder)
            make_everything_happen(run, server)
            found = Scraped(server, run.counted, stack, f"127.0.0.1:{second}")
            with leading_controller_paused(stack):
                start_second_controller(stack, second)
                wait_for(lambda: bool(found.jobs()), PATIENCE_SECONDS)
            found.settle()
            yield found


def new_folder(folder: Path) -> Path:
    made = folder / "prometheus"
    made.mkdir()
    return made


def make_everything_happen(run: Run, server: Prometheus) -> None:
    wait_for(lambda: len(server.now("pixelflow_build_info")) == 3, PATIENCE_SECONDS)
    with receiving() as good, receiving(Reply(500), Reply()) as failing_once, receiving(Reply(410)) as gone:
        run.crash(failing_once)
        run.successes(good)
        run.refusal_and_retry()
        run.cancellation(gone)
        run.local_file()
        run.mistakes()
        run.too_many_requests()
        run.waiting(lambda: bool(server.now("pixelflow_queue_oldest_seconds > 1")))
        wait_for(lambda: len(failing_once.received) == 2, PATIENCE_SECONDS)


def start_second_controller(stack: Stack, port: int) -> None:
    """One that counts what is in the database when all is over; the first will do so within a minute."""
    env = shutil.which("env")
    assert env
    command = [
        env,
        f"PIXELFLOW_METRICS_PORT={port}",
        "PIXELFLOW_METRICS_ENABLED=true",
        "PIXELFLOW_METRICS_TOP_USERS=5",
        sys.executable,
        "-m",
        "pixelflow",
    ]
    stack.start_processes([Role("controller-2", [*command, "controller"])])


# ── What has happened ────────────────────────────────────────────────────────────────────────────


def test_every_request_is_counted_by_its_route(scraped: Scraped) -> None:
    clients = 'pixelflow_api_requests_total{route!~"/healthz|/readyz"}'
    assert scraped.sums(clients, "method", "route", "status") == scraped.counted.requests


def test_every_request_is_timed(scraped: Scraped) -> None:
    expected: Counts = Counts()
    for each, count in scraped.counted.requests.items():
        expected[frozenset((name, value) for name, value in each if name != "status")] += count
    timed = 'pixelflow_api_request_duration_seconds_count{route!~"/healthz|/readyz"}'
    assert scraped.sums(timed, "method", "route") == expected


def test_every_start_is_counted_once(scraped: Scraped) -> None:
    assert scraped.sums("pixelflow_queue_jobs_enqueued_total", "queue") == {
        labels(queue="images"): scraped.counted.enqueued
    }


def test_every_attempt_is_counted_and_timed(scraped: Scraped) -> None:
    assert scraped.sums("pixelflow_worker_jobs_total", "source_type", "status") == scraped.counted.attempts
    timed = scraped.sums("pixelflow_worker_job_duration_seconds_count", "source_type")
    assert timed == {labels(source_type="s3_presigned"): 8, labels(source_type="local_file"): 1}


def test_every_stage_is_timed(scraped: Scraped) -> None:
    assert scraped.sums("pixelflow_worker_stage_duration_seconds_count", "stage") == scraped.counted.stages


def test_every_output_is_counted_by_its_format(scraped: Scraped) -> None:
    assert scraped.sums("pixelflow_worker_pipeline_outputs_total", "format") == scraped.counted.outputs


def test_every_failure_is_counted_by_its_code(scraped: Scraped) -> None:
    assert scraped.sums("pixelflow_worker_failures_total", "code") == scraped.counted.failures


@pytest.mark.parametrize("column", ["pixels_processed", "bytes_saved", "compute_time_ms"])
def test_usage_is_what_the_database_bills(scraped: Scraped, column: str) -> None:
    assert scraped.sums(f"pixelflow_usage_{column}_total") == {labels(): billed(scraped.stack)[column]}


def test_nothing_is_under_way_at_the_end_and_there_are_two_slots(scraped: Scraped) -> None:
    assert scraped.prometheus.now("sum(pixelflow_worker_active_jobs)") == {labels(): 0}
    assert scraped.prometheus.now("sum(pixelflow_worker_slots)") == {labels(): 2}


def test_every_delivery_is_counted_by_its_outcome(scraped: Scraped) -> None:
    assert scraped.sums("pixelflow_webhook_deliveries_total", "outcome") == scraped.counted.deliveries


def test_every_request_over_a_limit_is_counted_by_its_route(scraped: Scraped) -> None:
    assert scraped.sums("pixelflow_api_rate_limit_rejections_total", "route") == scraped.counted.rejected


def test_the_jobs_are_where_they_ended(scraped: Scraped) -> None:
    expected = {"created": 0, "queued": 0, "processing": 0, "succeeded": SUCCEEDED, "failed": FAILED}
    expected["canceled"] = CANCELED
    assert scraped.jobs() == {labels(status=status): count for status, count in expected.items()}


def test_the_wait_of_the_oldest_job_was_seen_and_is_over(scraped: Scraped) -> None:
    now = scraped.prometheus.now("max(pixelflow_queue_oldest_seconds)")
    longest = scraped.prometheus.now(f"max(max_over_time(pixelflow_queue_oldest_seconds[{WHOLE}]))")
    assert (now[labels()], 1 < longest[labels()] < PATIENCE_SECONDS) == (0, True)


def test_each_process_says_what_it_is_and_that_it_reaches_its_servers(scraped: Scraped) -> None:
    assert scraped.sums("pixelflow_build_info", "role") == {
        labels(role="api"): 1,
        labels(role="worker"): 1,
        labels(role="controller"): 2,
    }
    reached = scraped.prometheus.now("min by (dependency) (pixelflow_dependency_up)")
    assert reached == {labels(dependency=name): 1 for name in ("postgres", "redis", "object_storage")}


def test_no_alert_fired(scraped: Scraped) -> None:
    assert scraped.prometheus.now('ALERTS{alertstate="firing"}') == {}
    health = {
        rule["name"]: rule["health"] for group in scraped.prometheus.ask("rules")["groups"] for rule in group["rules"]
    }
    assert set(health.values()) == {"ok"}


# ── What is shown of it ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("panel", dashboard.panels(), ids=lambda panel: panel.title)
def test_a_panel_has_data(scraped: Scraped, panel: Shown) -> None:
    if panel.title == "Storage credentials":
        pytest.skip("the access key of this PixelFlow has no end")
    for query in panel.queries:
        found = scraped.prometheus.now(query.filled(rate=WHOLE, whole=WHOLE))
        assert any(math.isfinite(value) for value in found.values()), query.expression
