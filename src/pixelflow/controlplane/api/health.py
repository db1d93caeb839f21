"""Is the process alive, and can it work?"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from pixelflow.adapters.telemetry.health import HealthStatus
from pixelflow.controlplane.api.services import ServicesOf

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether what the API stands on answers."""

    status: HealthStatus
    checks: Annotated[dict[str, HealthStatus], Field(description="One entry per server.")]


@router.get("/healthz", summary="Alive?")
async def healthz() -> Health:
    """Answers as long as the process lives, whatever becomes of its servers."""
    return Health()


@router.get(
    "/readyz",
    summary="Ready?",
    responses={503: {"model": Readiness, "description": "Some server does not answer"}},
)
async def readyz(services: ServicesOf, response: Response) -> Readiness:
    """Asks Postgres, Redis and object storage, each for at most two seconds; an answer is kept for one."""
    verdicts = await services.dependencies.statuses()
    ready = all(verdict == "ok" for verdict in verdicts.values())
    response.status_code = 200 if ready else 503
    return Readiness(status="ok" if ready else "unavailable", checks=verdicts)
