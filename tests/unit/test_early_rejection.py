"""The index of limited routes agrees with the router."""

from __future__ import annotations

import pytest
from tests.integration.identity.http import ROUTES, Route

from pixelflow.controlplane.api.early_rejection import LimitedRoutes
from pixelflow.controlplane.api.main import ROUTERS
from pixelflow.controlplane.limits.service import Policy

LIMITED = LimitedRoutes(ROUTERS)
POLICIES = {"create_job": Policy.CREATE, "start_job": Policy.START, "retry_job": Policy.START}
JOB = "018f0000-0000-7000-8000-000000000000"


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_route_with_a_credential_is_found(route: Route) -> None:
    names = [row["name"] for row in route.operation.get("parameters", []) if row["in"] == "path"]
    found = LIMITED.find(route.method, route.path.format(**dict.fromkeys(names, JOB)))
    assert found is not None
    assert found.template == route.path
    assert found.policy == POLICIES.get(route.operation["operationId"], Policy.OTHER)


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
def test_no_other_request_is_limited(method: str, path: str) -> None:
    assert LIMITED.find(method, path) is None
