"""Is the process alive, and can it work?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from pixelflow.contracts.problems import DependencyError
from pixelflow.controlplane.api.services import Services, ServicesOf

_PATIENCE_SECONDS = 2.0

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


Verdict = Literal["ok", "unavailable"]


class Readiness(BaseModel):
    """Whether what the API stands on answers."""

    status: Verdict
    checks: Annotated[dict[str, Verdict], Field(description="One entry per server.")]


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
    """Asks Postgres, Redis and object storage, each for at most two seconds."""
    names = ("postgres", "redis", "object_storage")
    checks = (_ask_postgres(services), asyncio.to_thread(services.queue.ping), services.objects.ping())
    verdicts = dict(zip(names, await asyncio.gather(*map(_judge, checks)), strict=True))
    ready = all(verdict == "ok" for verdict in verdicts.values())
    response.status_code = 200 if ready else 503
    return Readiness(status="ok" if ready else "unavailable", checks=verdicts)


async def _ask_postgres(services: Services) -> None:
    async with services.database.connection() as connection:
        await connection.execute("SELECT 1")


async def _judge(check: Awaitable[None]) -> Verdict:
    try:
        await asyncio.wait_for(check, _PATIENCE_SECONDS)
    except (DependencyError, TimeoutError):
        return "unavailable"
    return "ok"
