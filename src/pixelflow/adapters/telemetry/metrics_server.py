"""Serves ``GET /metrics``, and nothing else, beside whatever a process does.

Whoever reaches the port can ask, so that little is done for anybody: so many connections at once, each for so long.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, MetricsHandler

from pixelflow.settings import Settings, SettingsError

DEFAULT_PORTS = {"api": 9090, "worker": 9091, "controller": 9092}
PATH = "/metrics"
MAX_CONNECTIONS = 8
MAX_SECONDS = 5.0
"""Of one connection: an answer takes milliseconds."""
_POLL_SECONDS = 0.25

_log = structlog.get_logger(__name__)


@contextmanager
def serving(
    registry: CollectorRegistry, settings: Settings, *, role: str, max_seconds: float = MAX_SECONDS
) -> Iterator[None]:
    """Serve the registry on the port of the settings, for as long as the context lasts; ``max_seconds`` a connection.

    Raises:
        SettingsError: the port can't be had. Nobody would notice a process that nothing is known of.
    """
    if not settings.metrics_enabled:
        yield
        return
    server = _open(registry, settings, role, max_seconds)
    thread = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), name="metrics", daemon=True)
    thread.start()
    host, port = server.server_address[:2]
    _log.info("metrics served", address=str(host), port=port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _open(registry: CollectorRegistry, settings: Settings, role: str, max_seconds: float) -> _Server:
    wanted = DEFAULT_PORTS[role] if settings.metrics_port is None else settings.metrics_port
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.metrics_host, wanted, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return _Server(registry, family, address, max_seconds)
    except OSError as error:
        raise SettingsError(
            f"PIXELFLOW_METRICS_PORT can't be used: nothing can listen on port {wanted} of {settings.metrics_host} "
            f"({error.strerror}). Set another one, 0 for any that is free, or PIXELFLOW_METRICS_ENABLED=false."
        ) from error


class _Handler(MetricsHandler):
    """One request. Other methods than GET are answered by 501, by the library."""

    server_version = "PixelFlow"
    sys_version = ""

    def do_GET(self) -> None:  # noqa: N802  # the library's name
        if self.path.partition("?")[0] != PATH:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self.path = PATH  # the library would take what to tell from the query
        super().do_GET()


class _Server(ThreadingMixIn, TCPServer):
    """A thread for each connection, up to a bound."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(
        self,
        registry: CollectorRegistry,
        family: int,
        address: Any,  # noqa: ANN401  # by family
        max_seconds: float,
    ) -> None:
        self.address_family = family
        self._max_seconds = max_seconds
        self._until: dict[Any, float] = {}
        """Open connections, and when each is closed."""
        super().__init__(
            address, type("_HandlerOfRegistry", (_Handler,), {"registry": registry, "timeout": max_seconds})
        )

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  # the library's signature
        if len(self._until) >= MAX_CONNECTIONS:
            self.shutdown_request(request)
            return
        self._until[request] = time.monotonic() + self._max_seconds
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Several times a second: end what takes too long, such as a request that comes byte by byte."""
        now = time.monotonic()
        for request, until in self._until.copy().items():
            if until < now:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401
        self._until.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002
        """Whoever asked has gone, or was too slow. Not on stderr, as the library would have it."""
        _log.debug("metrics not told", exc_info=True)
