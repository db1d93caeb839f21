"""The API around its routes: unexpected exceptions are logged once, and health checks are cached."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

import httpx
import pytest
from opentelemetry.trace import NoOpTracer
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from pixelflow.adapters.telemetry.health import HealthChecks
from pixelflow.controlplane.api.main import make_app
from pixelflow.controlplane.api.metrics import ApiMetrics
from pixelflow.controlplane.api.services import Services
from pixelflow.errors import StoreUnavailableError


def _no_services() -> AbstractAsyncContextManager[Services]:
    raise NotImplementedError


async def test_an_unexpected_exception_is_a_problem_and_is_logged_once() -> None:
    app = make_app(_no_services, ApiMetrics(CollectorRegistry()), NoOpTracer())

    @app.get("/broken")
    async def broken() -> None:
        raise ZeroDivisionError("a detail of ours")

    # What the application raises is raised here, as a server would log it a second time.
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        with capture_logs() as logs:
            answer = await client.get("/broken", headers={"X-Request-ID": "mine"})
    assert (answer.status_code, answer.json()["code"], answer.json()["request_id"]) == (500, "internal_error", "mine")
    assert answer.headers.get_list("X-Request-ID") == ["mine"]
    assert "detail of ours" not in answer.text
    assert [(log["event"], "exc_info" in log) for log in logs] == [("unhandled error", True), ("request", False)]
    assert logs[-1]["status"] == 500


class Server:
    """Counts how often it is checked."""

    def __init__(self) -> None:
        self.asked = 0
        self.away = False

    async def ask(self) -> None:
        self.asked += 1
        await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailableError("away")


@pytest.mark.parametrize("away", [False, True])
async def test_dependencies_are_checked_at_most_once_a_second(away: bool) -> None:
    now, server = [100.0], Server()
    server.away = away
    reported: list[bool] = []
    dependencies = HealthChecks(
        {"one": server.ask}, on_status=lambda _, *, up: reported.append(up), clock=lambda: now[0]
    )
    answers = await asyncio.gather(*(dependencies.statuses() for _ in range(50)))
    assert answers == [{"one": "unavailable" if away else "ok"}] * 50
    now[0] += 0.9
    await dependencies.statuses()
    assert server.asked == 1
    server.away = not away
    now[0] += 0.1
    assert await dependencies.statuses() == {"one": "ok" if away else "unavailable"}
    assert server.asked == 2
    assert reported == [not away, away], "each status is reported to the metrics once"
