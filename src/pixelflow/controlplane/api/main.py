"""The API process: composition root."""

from __future__ import annotations

import functools
import signal
import socket
import sys
from typing import NoReturn

import uvicorn
from fastapi import FastAPI

from pixelflow.adapters.telemetry.logs import configure_logs
from pixelflow.adapters.telemetry.metrics import new_registry, serve_metrics
from pixelflow.adapters.telemetry.tracing import open_tracer
from pixelflow.controlplane.api.app import make_app
from pixelflow.controlplane.api.metrics import ApiMetrics
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
        SettingsError: what only this process needs is not set, the port of its metrics is taken, or traces are to go
            where none can be sent.
    """
    settings.require_secrets_key()
    configure_logs(settings, role="api")
    # uvicorn raises the signal again when it is done; by default that ends a process on the spot, its spans unsent.
    signal.signal(signal.SIGTERM, _leave)
    registry = new_registry()
    metrics = ApiMetrics(registry)
    with serve_metrics(registry, settings, role="api"), open_tracer(role="api") as tracing:
        _serve(make_app(functools.partial(open_services, settings, metrics), metrics, tracing), settings)


def _leave(_number: int, _frame: object) -> NoReturn:
    sys.exit(0)


def _serve(app: FastAPI, settings: Settings) -> None:
    server = make_server(app, settings)
    server.run(sockets=None if settings.api_socket is None else [socket.socket(fileno=settings.api_socket)])
    if not server.started:
        sys.exit(1)


def make_server(app: FastAPI, settings: Settings) -> uvicorn.Server:
    """What serves ``app``, within the bounds that the process can bear."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.api_host,
            port=settings.api_port,
            http="h11",
            log_config=None,
            access_log=False,
            # Puts the client's address in the place of the proxy's: of proxies that are trusted, of nobody else.
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=[str(network) for network in settings.trusted_proxies],
            server_header=False,
            limit_concurrency=_MAX_CONNECTIONS,
            h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
            timeout_keep_alive=_IDLE_SECONDS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            # Else a request may begin in the context of another one on its connection: in its trace, under its user.
            reset_contextvars=True,
        )
    )
