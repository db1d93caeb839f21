"""Values of the metrics, and that clients can't create series."""

from __future__ import annotations

import asyncio
import string
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.trace import NoOpTracer
from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs
from tests.support.scraped import scraped

from pixelflow.controlplane.api.main import make_app
from pixelflow.controlplane.api.metrics import ApiMetrics
from pixelflow.controlplane.api.services import Services
from pixelflow.controlplane.controller.loop import run_loop
from pixelflow.controlplane.controller.metrics import ControllerMetrics
from pixelflow.controlplane.stats.metrics import (
    BACKLOG_MAX_AGE_SECONDS,
    TOTALS_MAX_AGE_SECONDS,
    Backlog,
    DatabaseMetrics,
    Totals,
)
from pixelflow.errors import StoreUnavailableError

BACKLOG = Backlog(
    {"queued": 3, "processing": 2},
    oldest_job_seconds=4.5,
    events=6,
    oldest_event_seconds=7.5,
    unclaimable_jobs={"heic": 1},
)
TOTALS = Totals({"created": 0, "succeeded": 9, "failed": 1, "canceled": 0}, active_users=2, top_pixels={"ann": 100})


@asynccontextmanager
async def _no_services() -> AsyncIterator[Services]:
    raise NotImplementedError
    yield


async def _asked(registry: CollectorRegistry, *requests: tuple[str, str]) -> None:
    await _ask(make_app(_no_services, ApiMetrics(registry), NoOpTracer()), *requests)


async def _ask(app: FastAPI, *requests: tuple[str, str]) -> None:
    async def without_services(scope: Scope, receive: Receive, send: Send) -> None:
        services = SimpleNamespace(limits=None, credentials=SimpleNamespace(recognize=lambda _: None))
        await app({**scope, "state": {"services": services}}, receive, send)

    transport = httpx.ASGITransport(without_services, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        # Without services most routes fail, and the traceback of each on the terminal would take seconds.
        with capture_logs():
            for method, path in requests:
                await client.request(method, path)


# ── Requests ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_request_counts_by_the_template_of_its_route() -> None:
    registry = CollectorRegistry()
    await _asked(registry, ("GET", "/v1/jobs/1"), ("GET", "/v1/jobs/2"), ("DELETE", "/v1/jobs/2"), ("GET", "/healthz"))
    samples = scraped(registry)
    name = "pixelflow_api_requests_total"
    assert samples.by("route", name) == {"/v1/jobs/{job_id}": 3, "/healthz": 1}
    assert samples(name, method="GET", route="/healthz", status="200") == 1
    assert samples("pixelflow_api_request_duration_seconds_count", method="GET", route="/v1/jobs/{job_id}") == 2


async def test_every_route_of_the_api_has_a_template_of_its_own() -> None:
    registry = CollectorRegistry()
    paths = list(make_app(_no_services, ApiMetrics(CollectorRegistry()), NoOpTracer()).openapi()["paths"])
    await _asked(registry, *(("GET", path.replace("{", "").replace("}", "")) for path in paths))
    assert set(scraped(registry).by("route", "pixelflow_api_requests_total")) == set(paths)


_PATHS = st.lists(st.text(string.ascii_letters + string.digits + "-._~%", min_size=1, max_size=20), max_size=4)
_METHODS = st.one_of(st.sampled_from(["GET", "POST", "PUT"]), st.text(string.ascii_uppercase, min_size=1, max_size=9))
_ALLOWED = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "other"}


@pytest.fixture(scope="module")
def hammered() -> tuple[FastAPI, CollectorRegistry]:
    registry = CollectorRegistry()
    return make_app(_no_services, ApiMetrics(registry), NoOpTracer()), registry


@given(requests=st.lists(st.tuples(_METHODS, _PATHS), max_size=8))
@settings(max_examples=40, deadline=None)
def test_unknown_paths_and_methods_create_no_series(
    hammered: tuple[FastAPI, CollectorRegistry], requests: list[tuple[str, list[str]]]
) -> None:
    app, registry = hammered
    before = scraped(registry).by("route", "pixelflow_api_requests_total").get("unmatched", 0)
    asyncio.run(_ask(app, *((method, "/nothing/" + "/".join(parts)) for method, parts in requests)))
    samples = scraped(registry)
    assert samples.by("route", "pixelflow_api_requests_total") == (
        {"unmatched": before + len(requests)} if before + len(requests) else {}
    )
    assert set(samples.by("method", "pixelflow_api_requests_total")) <= _ALLOWED


# ── What is counted in the database ──────────────────────────────────────────────────────────────


def test_database_figures_are_absent_before_the_first_count() -> None:
    registry = CollectorRegistry()
    ControllerMetrics(registry)
    samples = scraped(registry)
    assert not samples.has("pixelflow_queue_oldest_seconds")
    assert samples.by("status", "pixelflow_jobs") == {}


def test_an_outdated_figure_is_omitted() -> None:
    now = [0.0]
    database = DatabaseMetrics(clock=lambda: now[0])
    registry = CollectorRegistry()
    registry.register(database)
    database.backlog.set(BACKLOG)
    database.totals.set(TOTALS)
    samples = scraped(registry)
    assert samples.by("status", "pixelflow_jobs") == {"queued": 3, "processing": 2, "succeeded": 9, "failed": 1}
    assert samples.has("pixelflow_jobs", status="created"), "every status is present, also at 0"
    assert samples.has("pixelflow_jobs", status="canceled")
    assert samples("pixelflow_webhook_oldest_seconds") == 7.5
    assert samples("pixelflow_usage_top_pixels_processed", user_id="ann") == 100
    now[0] = BACKLOG_MAX_AGE_SECONDS
    later = scraped(registry)
    assert not later.has("pixelflow_queue_oldest_seconds")
    assert set(later.by("status", "pixelflow_jobs")) == {"succeeded", "failed"}
    now[0] = TOTALS_MAX_AGE_SECONDS
    assert scraped(registry).series == set()


# ── Ticks ────────────────────────────────────────────────────────────────────────────────────────


class Errand:
    """A loop body that returns or raises the given results in order."""

    name = "errand"

    def __init__(self, stop: asyncio.Event, *results: int | Exception) -> None:
        self._stop = stop
        self._results = list(results)

    async def run_once(self) -> int:
        result = self._results.pop(0)
        if not self._results:
            self._stop.set()
        if isinstance(result, Exception):
            raise result
        return result


@pytest.mark.parametrize(
    ("result", "outcome", "is_success"),
    [
        (2, "done", True),
        (0, "idle", True),
        (StoreUnavailableError("away"), "unavailable", False),
        (ValueError("a bug"), "failed", False),
    ],
)
async def test_a_loop_counts_the_outcome_of_each_tick(result: int | Exception, outcome: str, is_success: bool) -> None:
    registry, stop, now = CollectorRegistry(), asyncio.Event(), iter([1000.0, 2000.0])
    metrics = ControllerMetrics(registry, clock=lambda: next(now))
    await run_loop(Errand(stop, result), pause=0.0, stop=stop, metrics=metrics)
    samples = scraped(registry)
    assert samples.by("outcome", "pixelflow_controller_rounds_total") == {outcome: 1}
    at = samples("pixelflow_controller_last_round_timestamp_seconds", loop="errand")
    assert at == (2000 if is_success else 1000), "a loop that only fails looks like one that hangs"
