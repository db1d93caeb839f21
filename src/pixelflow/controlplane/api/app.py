"""The API as one ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypedDict

from fastapi import FastAPI
from opentelemetry.trace import Tracer
from starlette.middleware import Middleware

from pixelflow import __version__
from pixelflow.controlplane.api import health, openapi, problems
from pixelflow.controlplane.api.metrics import ApiMetrics
from pixelflow.controlplane.api.middleware import RequestContextMiddleware
from pixelflow.controlplane.api.services import Services
from pixelflow.controlplane.api.tracing import TracingMiddleware
from pixelflow.controlplane.idempotency import calls
from pixelflow.controlplane.jobs import routes as jobs_routes
from pixelflow.controlplane.keys import routes as keys_routes
from pixelflow.controlplane.usage import routes as usage_routes
from pixelflow.controlplane.webhooks import routes as webhooks_routes
from pixelflow.controlplane.webhooks import secret_routes

_DESCRIPTION = """
Create a job with a pipeline of steps, upload the source straight to object storage by the presigned URL you get,
start the job, and fetch the outputs when it has succeeded. No image bytes pass through this API.

Errors are `application/problem+json` (RFC 9457) with a stable `code`.
"""


class _State(TypedDict):
    services: Services


def make_app(
    services: Callable[[], AbstractAsyncContextManager[Services]], metrics: ApiMetrics, tracing: Tracer
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
        middleware=[
            Middleware(TracingMiddleware, tracing=tracing),
            Middleware(RequestContextMiddleware, metrics=metrics),
        ],
        generate_unique_id_function=lambda route: route.name,
    )
    problems.install(app)
    calls.install(app)
    app.include_router(health.router)
    app.include_router(jobs_routes.router)
    app.include_router(webhooks_routes.router)
    app.include_router(secret_routes.router)
    app.include_router(keys_routes.router)
    app.include_router(usage_routes.router)
    openapi.install(app)
    return app
