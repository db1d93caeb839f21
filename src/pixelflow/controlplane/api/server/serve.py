"""Builds the server of the API, and runs it."""

from __future__ import annotations

import asyncio
import functools
import gc
import resource
import socket
import sys

import structlog
import uvicorn
from fastapi import FastAPI

from pixelflow.controlplane.api.metrics import ApiMetrics
from pixelflow.controlplane.api.server.connections import ConnectionLimits, Connections, proxies_of
from pixelflow.controlplane.api.server.protocol import ApiProtocol
from pixelflow.controlplane.api.services import Services
from pixelflow.settings import Settings

_SHUTDOWN_SECONDS = 5
_BACKLOG = 2048
"""Connections that the kernel accepts for the process; uvicorn's default. asyncio takes as many in one turn."""
_NEW_OBJECTS = 5_000
"""New objects per garbage collection, which stops the loop: for a millisecond, and each tenth for six at most. The
imports have a larger number."""
_OTHER_FILES = 256
"""File descriptors for anything else: the pools of Postgres and Redis, requests to object storage, the metrics."""

_log = structlog.get_logger(__name__)


class ApiServer(uvicorn.Server):
    """uvicorn, which also applies the deadlines of its connections."""

    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        super().__init__(config)
        self._connections = connections

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then exempt what is loaded from garbage collection: a full one would stop the loop for 170 ms."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        gc.set_threshold(_NEW_OBJECTS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the event streams and waiting requests, then finish the others."""
        services: Services = self.lifespan.state["services"]
        services.watches.stop()
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
        self._connections.expire(asyncio.get_running_loop().time())
        return await super().on_tick(counter)


def make_server(app: FastAPI, settings: Settings, metrics: ApiMetrics) -> uvicorn.Server:
    """Build the server of ``app``, with limits that protect the process."""
    connections = Connections(ConnectionLimits.of(settings))
    return ApiServer(
        uvicorn.Config(
            app,
            host=settings.api_host,
            port=settings.api_port,
            # uvicorn calls it as a class.
            http=functools.partial(ApiProtocol, connections=connections, metrics=metrics),  # type: ignore[arg-type]
            ws="none",
            log_config=None,
            access_log=False,
            # Replaces the address of a trusted proxy by the client's. Headers of any other peer are ignored.
            proxy_headers=bool(settings.trusted_proxies) or settings.api_socket is not None,
            forwarded_allow_ips=proxies_of(settings.trusted_proxies),
            server_header=False,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            # Otherwise a request may run in the context of an earlier one on its connection: its trace and its user.
            reset_contextvars=True,
        ),
        connections,
    )


def serve(app: FastAPI, settings: Settings, metrics: ApiMetrics) -> None:
    """Serve until SIGTERM or SIGINT. Exits with status 1 if the server can't start."""
    _allow_open_files(settings.api_max_connections + _BACKLOG + _OTHER_FILES)
    server = make_server(app, settings, metrics)
    server.run(sockets=None if settings.api_socket is None else [socket.socket(fileno=settings.api_socket)])
    if not server.started:
        sys.exit(1)


def _allow_open_files(count: int) -> None:
    """Raise the soft limit of file descriptors, which is 1024 by default, as far as the hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return
    allowed = count if hard == resource.RLIM_INFINITY else min(count, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < count:
        _log.warning("few file descriptors", limit=allowed, needed=count, setting="PIXELFLOW_API_MAX_CONNECTIONS")
