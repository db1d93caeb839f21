"""The index of routes agrees with the router; checks of credentials are bounded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Message, Receive, Scope, Send
from tests.integration.identity.http import ROUTES, Route

from pixelflow.controlplane.api.dispatch import RouteIndex
from pixelflow.controlplane.api.early_rejection import EarlyRejectionMiddleware
from pixelflow.controlplane.api.main import ROUTERS
from pixelflow.controlplane.api.metrics import ApiMetrics
from pixelflow.controlplane.identity import Identity
from pixelflow.controlplane.limits import service
from pixelflow.controlplane.limits.service import Policy, RateLimitResult
from pixelflow.controlplane.limits.store import BucketResult, Quota
from pixelflow.errors import UnauthenticatedError

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


class Answer:
    """The answer to a request with the credential of a known user, and whether the route was reached."""

    def __init__(self) -> None:
        self.reached = False
        self._sent: list[Message] = []

    @property
    def status(self) -> int:
        status: int = self._sent[0]["status"]
        return status

    @property
    def problem(self) -> Any:  # noqa: ANN401
        return json.loads(self._sent[1]["body"])

    async def get(self, **services: object) -> None:
        async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
            self.reached = True

        async def send(message: Message) -> None:
            self._sent.append(message)

        async def receive() -> Message:
            raise AssertionError

        middleware = EarlyRejectionMiddleware(app, routes=INDEX, metrics=ApiMetrics(CollectorRegistry()))
        state = {"services": SimpleNamespace(**{"limits": None, "request_seconds": 30, **services})}
        scope: Scope = {"type": "http", "method": "GET", "path": "/v1/jobs", "state": state}
        scope["headers"] = [(b"authorization", b"Bearer pf_1")]
        await asyncio.wait_for(middleware(scope, receive, send), 30)


USER = Identity("user", frozenset())


def credentials(check: Callable[[str], Awaitable[Identity]]) -> SimpleNamespace:
    return SimpleNamespace(recognize=lambda _: USER, authenticate=check)


async def test_a_check_of_the_credential_takes_no_longer_than_a_request() -> None:
    empty = RateLimitResult(Policy.READ, Quota(1, 60), BucketResult(allowed=False, remaining=0, refill_seconds=60))
    limits, answer = SimpleNamespace(find_rejection=lambda *_: empty), Answer()
    slow: Any = lambda _: asyncio.sleep(60)  # noqa: E731
    await answer.get(credentials=credentials(slow), limits=limits, request_seconds=0.05)
    assert not answer.reached
    assert (answer.status, answer.problem["code"]) == (503, "deadline_exceeded")


@pytest.mark.parametrize("is_revoked", [False, True])
async def test_a_request_beyond_those_that_may_wait_is_rejected_unless_the_key_is_revoked(
    monkeypatch: pytest.MonkeyPatch, is_revoked: bool
) -> None:
    async def authenticate(_: str) -> Identity:
        if is_revoked:
            raise UnauthenticatedError("revoked")
        return USER

    monkeypatch.setattr(service, "HOLD_SECONDS", 0.01)
    crowded, free = SimpleNamespace(is_crowded=lambda user: user == "user"), SimpleNamespace(is_crowded=lambda _: False)
    answer = Answer()
    await answer.get(credentials=credentials(authenticate), loop_time=crowded)
    assert answer.reached == is_revoked  # the route responds
    if not is_revoked:
        assert (answer.status, answer.problem["code"]) == (429, "too_many_requests")
    other = Answer()
    await other.get(credentials=credentials(authenticate), loop_time=free)
    assert other.reached
