"""Health checks: whether the process is alive, and whether it can serve requests."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from pixelflow.adapters.telemetry.health import HealthStatus
from pixelflow.controlplane.api.services import ServicesOf

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether the services that the API depends on are available."""

    status: HealthStatus
    checks: Annotated[dict[str, HealthStatus], Field(description="The status of each service.")]


@router.get("/healthz", summary="Check liveness")
async def healthz() -> Health:
    """Return 200 as long as the process is alive, even if the services it depends on are not available."""
    return Health()


@router.get(
    "/readyz",
    summary="Check readiness",
    responses={503: {"model": Readiness, "description": "At least one service is unavailable"}},
)
async def readyz(services: ServicesOf, response: Response) -> Readiness:
    """Check Postgres, Redis and object storage, with a timeout of 2 seconds each. Results are cached for one second."""
    checks = await services.health_checks.statuses()
    ready = all(status == "ok" for status in checks.values())
    response.status_code = 200 if ready else 503
    return Readiness(status="ok" if ready else "unavailable", checks=checks)
