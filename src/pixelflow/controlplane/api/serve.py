"""The API process: composition root."""

from __future__ import annotations

import functools
import socket
import sys

import uvicorn

from pixelflow.adapters.telemetry.api_metrics import ApiMetrics
from pixelflow.adapters.telemetry.logs import configure_logs
from pixelflow.adapters.telemetry.metrics import new_registry
from pixelflow.adapters.telemetry.metrics_server import serving
from pixelflow.controlplane.api.app import make_app
from pixelflow.controlplane.api.services import open_services
from pixelflow.settings import Settings

_GRACE_SECONDS = 5
_MAX_CONNECTIONS = 1000
"""More are told 503: each costs a descriptor, of which a process commonly has 1024."""
_MAX_HEADER_BYTES = 16 * 1024
"""Of the line and headers of a request."""
_IDLE_SECONDS = 5
"""How long a connection without a request stays open."""


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SettingsError: what only this process needs is not set, or the port of its metrics is taken.
    """
    settings.require_secrets_key()
    configure_logs(settings, role="api")
    registry = new_registry()
    metrics = ApiMetrics(registry)
    with serving(registry, settings, role="api"):
        _serve(settings, metrics)


def _serve(settings: Settings, metrics: ApiMetrics) -> None:
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(functools.partial(open_services, settings, metrics), metrics),
            host=settings.api_host,
            port=settings.api_port,
            http="h11",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=_MAX_CONNECTIONS,
            h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
            timeout_keep_alive=_IDLE_SECONDS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )
    server.run(sockets=None if settings.api_socket is None else [socket.socket(fileno=settings.api_socket)])
    if not server.started:
        sys.exit(1)
