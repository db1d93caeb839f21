"""The API process: builds the ASGI application and serves it."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NoReturn, TypedDict

from fastapi import FastAPI
from opentelemetry.trace import Tracer
from starlette.middleware import Middleware

from pixelflow import __version__
from pixelflow.adapters.telemetry.logs import configure_logs
from pixelflow.adapters.telemetry.metrics import ReadinessProbe, new_registry, serve_metrics
from pixelflow.adapters.telemetry.tracing import open_tracer
from pixelflow.controlplane.api import error_pages, health, openapi, problems, reference
from pixelflow.controlplane.api.dispatch import DispatchMiddleware, RouteIndex
from pixelflow.controlplane.api.early_rejection import EarlyRejectionMiddleware
from pixelflow.controlplane.api.metrics import ApiMetrics
from pixelflow.controlplane.api.middleware import RequestContextMiddleware, TracingMiddleware
from pixelflow.controlplane.api.server.serve import serve
from pixelflow.controlplane.api.services import Services, open_services
from pixelflow.controlplane.assets import routes as assets_routes
from pixelflow.controlplane.batches import routes as batches_routes
from pixelflow.controlplane.capabilities import routes as capabilities_routes
from pixelflow.controlplane.jobs import routes as jobs_routes
from pixelflow.controlplane.keys import routes as keys_routes
from pixelflow.controlplane.live import routes as live_routes
from pixelflow.controlplane.presets import routes as presets_routes
from pixelflow.controlplane.usage import routes as usage_routes
from pixelflow.controlplane.webhook_endpoints import routes as webhook_endpoints_routes
from pixelflow.controlplane.webhooks import routes as webhooks_routes
from pixelflow.settings import Settings

ROUTERS = (
    jobs_routes.router,
    live_routes.router,
    assets_routes.router,
    presets_routes.router,
    batches_routes.router,
    webhooks_routes.router,
    webhook_endpoints_routes.router,
    keys_routes.router,
    usage_routes.router,
    capabilities_routes.router,
)
"""All routes that need a credential."""

_DESCRIPTION = """
PixelFlow transforms images asynchronously:

1. Create a job with a pipeline of steps.
2. Upload the source directly to object storage, with the presigned URL in the response.
3. Start the job.
4. Download the outputs when the job has succeeded.

The API never transfers image bytes. Errors are `application/problem+json` (RFC 9457) with a stable `code`.
"""


class _State(TypedDict):
    services: Services


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SettingsError: a setting that the API requires is missing, the metrics port is in use, or trace export is
            configured but not possible.
    """
    settings.require_secrets_keys()
    configure_logs(settings, role="api")
    # uvicorn re-raises the signal after its shutdown. The default action would end the process before spans are sent.
    signal.signal(signal.SIGTERM, _exit)
    registry = new_registry()
    metrics = ApiMetrics(registry)
    readiness = ReadinessProbe()
    with (
        serve_metrics(registry, settings, role="api", readiness=readiness),
        open_tracer(role="api") as tracer,
    ):
        app = make_app(functools.partial(open_services, settings, metrics), metrics, tracer, readiness)
        serve(app, settings, metrics)


def _exit(_number: int, _frame: object) -> NoReturn:
    sys.exit(0)


def make_app(
    services: Callable[[], AbstractAsyncContextManager[Services]],
    metrics: ApiMetrics,
    tracer: Tracer,
    readiness: ReadinessProbe | None = None,
) -> FastAPI:
    """Build the application. ``services`` opens what the routes use, for the lifetime of the application.

    ``readiness`` then reports the latest health checks: the metrics port answers however busy this one is.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[_State]:
        async with services() as opened:
            if readiness is not None:
                readiness.reasons = opened.health_checks.unavailable
            yield {"services": opened}

    routes = RouteIndex(ROUTERS)
    app = FastAPI(
        title="PixelFlow",
        version=__version__,
        summary="Self-hosted, asynchronous image processing",
        description=_DESCRIPTION,
        license_info={"name": "MIT", "identifier": "MIT"},
        lifespan=lifespan,
        # `reference` serves both. FastAPI's page loads its scripts from another host.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # A redirect would repeat the client's `Host` header.
        redirect_slashes=False,
        # FastAPI's own telemetry would export validated values and exception texts to wherever its variables point.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        middleware=[
            Middleware(EarlyRejectionMiddleware, routes=routes, metrics=metrics),
            Middleware(TracingMiddleware, tracer=tracer),
            Middleware(RequestContextMiddleware, metrics=metrics),
            Middleware(DispatchMiddleware, routes=routes),
        ],
        generate_unique_id_function=lambda route: route.name,
    )
    problems.install(app)
    app.include_router(health.router)
    for router in ROUTERS:
        app.include_router(router)
    openapi.install(app)
    reference.install(app)
    error_pages.install(app)
    return app
