"""The API as one ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypedDict

from fastapi import FastAPI
from starlette.middleware import Middleware

from pixelflow import __version__
from pixelflow.adapters.telemetry.api_metrics import ApiMetrics
from pixelflow.adapters.telemetry.tracing import Tracing
from pixelflow.controlplane.api import (
    deliveries,
    document,
    health,
    idempotency,
    jobs,
    keys,
    problems,
    usage,
    webhook_secret,
)
from pixelflow.controlplane.api.envelope import Envelope
from pixelflow.controlplane.api.services import Services
from pixelflow.controlplane.api.traced import Traced

_DESCRIPTION = """
Create a job with a pipeline of steps, upload the source straight to object storage by the presigned URL you get,
start the job, and fetch the outputs when it has succeeded. No image bytes pass through this API.

Errors are `application/problem+json` (RFC 9457) with a stable `code`.
"""


class _State(TypedDict):
    services: Services


def make_app(
    services: Callable[[], AbstractAsyncContextManager[Services]], metrics: ApiMetrics, tracing: Tracing
) -> FastAPI:
    """The application; ``services`` opens what its routes work with, for as long as it runs."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[_State]:
        async with services() as opened:
            yield {"services": opened}

    app = FastAPI(
        title="PixelFlow",
        version=__version__,
        summary="Self-hosted, asynchronous image processing",
        description=_DESCRIPTION,
        license_info={"name": "MIT", "identifier": "MIT"},
        lifespan=lifespan,
        redoc_url=None,
        # Its own would show validated values and exceptions' texts, to whatever a variable of its own names.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        middleware=[Middleware(Traced, tracing=tracing), Middleware(Envelope, metrics=metrics)],
        generate_unique_id_function=lambda route: route.name,
    )
    problems.install(app)
    idempotency.install(app)
    app.include_router(health.router)
    app.include_router(jobs.router)
    app.include_router(deliveries.router)
    app.include_router(webhook_secret.router)
    app.include_router(keys.router)
    app.include_router(usage.router)
    document.install(app)
    return app
