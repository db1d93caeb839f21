"""The index of routes agrees with the router; checks of credentials are bounded."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Message, Receive, Scope, Send
from tests.integration.identity.http import ROUTES, Route

from pixelflow.controlplane.api.dispatch import RouteIndex
from pixelflow.controlplane.api.early_rejection import EarlyRejectionMiddleware
from pixelflow.controlplane.api.main import ROUTERS
from pixelflow.controlplane.api.metrics import ApiMetrics
from pixelflow.controlplane.limits.service import Policy

INDEX = RouteIndex(ROUTERS)
CREATES, STARTS = ("create_job", "create_batch", "add_jobs"), ("start_job", "retry_job")
POLICIES = dict.fromkeys(CREATES, Policy.CREATE) | dict.fromkeys(STARTS, Policy.START)
JOB = "018f0000-0000-7000-8000-000000000000"


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_route_with_a_credential_is_found(route: Route) -> None:
    names = [row["name"] for row in route.operation.get("parameters", []) if row["in"] == "path"]
    found = INDEX.find(route.method, route.path.format(**dict.fromkeys(names, JOB)))
    assert found is not None
    assert (found[0].path, found[1]) == (route.path, dict.fromkeys(names, JOB))
    others = Policy.READ if route.method == "GET" else Policy.OTHER
    assert found[0].policy == POLICIES.get(route.operation["operationId"], others)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("PUT", "/v1/jobs"),
        ("GET", "/v1/jobs/"),
        ("GET", "/v1/other"),
        ("POST", f"/v1/jobs/{JOB}/other"),
        ("GET", ""),
    ],
)
def test_no_other_request_is_found(method: str, path: str) -> None:
    assert INDEX.find(method, path) is None


async def test_a_check_of_the_credential_takes_no_longer_than_a_request() -> None:
    known = object()
    credentials = SimpleNamespace(recognize=lambda _: known, authenticate=lambda _: asyncio.sleep(60))
    limits = SimpleNamespace(find_rejection=lambda *_: object())
    services = SimpleNamespace(credentials=credentials, limits=limits, request_seconds=0.05)
    reached: list[Scope] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        reached.append(scope)

    middleware = EarlyRejectionMiddleware(app, routes=INDEX, metrics=ApiMetrics(CollectorRegistry()))
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError

    scope: Scope = {"type": "http", "method": "GET", "path": "/v1/jobs", "state": {"services": services}}
    scope["headers"] = [(b"authorization", b"Bearer pf_1")]
    await asyncio.wait_for(middleware(scope, receive, send), 30)
    assert not reached
    assert sent[0]["status"] == 503
    assert json.loads(sent[1]["body"])["code"] == "deadline_exceeded"
