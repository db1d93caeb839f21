"""Metrics that processes share, and the HTTP server for ``GET /metrics``, ``/livez`` and ``/readyz``.

Labels have few values, which clients can't add to: route templates, known methods, error codes. No metric contains a
secret; only one metric of the controller names users, at most as many as a setting allows. The server needs no
credentials, so it limits the number of connections and the duration of each.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from http import HTTPStatus
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

import prometheus_client
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, MetricsHandler, PlatformCollector, ProcessCollector

from pixelflow import __version__
from pixelflow.contracts.messages import QUEUE
from pixelflow.settings import Settings, SettingsError

DEFAULT_PORTS = {"api": 9090, "worker": 9091, "controller": 9092}
PATH = "/metrics"
LIVENESS_PATH, READINESS_PATH = "/livez", "/readyz"
MAX_CONNECTIONS = 8
MAX_SECONDS = 5.0
"""Of one connection; a response takes milliseconds."""
_POLL_SECONDS = 0.25

_log = structlog.get_logger(__name__)


# ── Metrics ──────────────────────────────────────────────────────────────────────────────────────


def new_registry() -> CollectorRegistry:
    """A registry for one process, with the metrics of the process and of Python."""
    # A setting of the whole library: it adds a `_created` series to each counter.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


class ProcessMetrics:
    """Metrics of every role."""

    def __init__(self, registry: CollectorRegistry, *, role: str) -> None:
        build = Gauge(
            "pixelflow_build_info",
            "Always 1; the labels are the version and the role of the process.",
            ["version", "role"],
            registry=registry,
        )
        build.labels(__version__, role).set(1)
        self._up = Gauge(
            "pixelflow_dependency_up",
            "Result of the latest health check of a server, run every few seconds: 1 available, 0 unavailable.",
            ["dependency"],
            registry=registry,
        )
        self._refreshes = Counter(
            "pixelflow_storage_credentials_refreshes_total",
            "Attempts to get new temporary credentials of object storage, by source and outcome (succeeded, failed).",
            ["source", "outcome"],
            registry=registry,
        )
        self._credentials_end = Gauge(
            "pixelflow_storage_credentials_end_timestamp_seconds",
            "Unix time at which the temporary credentials of object storage end; omitted if they have no known end.",
            ["source"],
            registry=registry,
        )

    def set_dependency_up(self, dependency: str, *, up: bool) -> None:
        """Record the result of a health check."""
        self._up.labels(dependency).set(up)

    def record_storage_credentials(self, source: str, *, succeeded: bool, expires_at: datetime | None) -> None:
        """Count an attempt to get new credentials of object storage; ``expires_at`` is the end of those in use."""
        self._refreshes.labels(source, "succeeded" if succeeded else "failed").inc()
        if expires_at is not None:
            self._credentials_end.labels(source).set(expires_at.timestamp())


class QueueMetrics:
    """Metrics of the API, which adds jobs to the queue."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = Counter(
            "pixelflow_queue_jobs_enqueued_total",
            "Jobs that an API added to the queue: started or retried by their owners.",
            ["queue"],
            registry=registry,
        )
        self._counter = counter.labels(QUEUE)

    def count_enqueued(self) -> None:
        """Count one job."""
        self._counter.inc()


# ── Server ───────────────────────────────────────────────────────────────────────────────────────


class ReadinessProbe:
    """Whether a process can do its work, for ``/readyz``. Thread-safe."""

    def __init__(self) -> None:
        self.reasons: Callable[[], Sequence[str]] = lambda: ["starting"]
        """Returns why it can't; empty if it can. Must not block."""


@contextmanager
def serve_metrics(
    registry: CollectorRegistry,
    settings: Settings,
    *,
    role: str,
    readiness: ReadinessProbe | None = None,
    max_seconds: float = MAX_SECONDS,
) -> Iterator[None]:
    """Serve the registry on the configured port while the context lasts; a connection lasts ``max_seconds`` at most.

    With ``readiness``, ``/livez`` and ``/readyz`` are served too.

    Raises:
        SettingsError: the port is not available. The process must not start, since nothing could monitor it.
    """
    if not settings.metrics_enabled:
        yield
        return
    server = _open_server(registry, settings, role, max_seconds, readiness)
    thread = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), name="metrics", daemon=True)
    thread.start()
    host, port = server.server_address[:2]
    _log.info("metrics served", address=str(host), port=port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _open_server(
    registry: CollectorRegistry, settings: Settings, role: str, max_seconds: float, readiness: ReadinessProbe | None
) -> _Server:
    port = DEFAULT_PORTS[role] if settings.metrics_port is None else settings.metrics_port
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.metrics_host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return _Server(registry, family, address, max_seconds, readiness)
    except OSError as error:
        raise SettingsError(
            f"PIXELFLOW_METRICS_PORT is not valid: cannot listen on port {port} of {settings.metrics_host} "
            f"({error.strerror}). Set another port, 0 for any free port, or PIXELFLOW_METRICS_ENABLED=false."
        ) from error


class _Handler(MetricsHandler):
    """One request. The base class answers other methods than GET with 501."""

    server_version = "PixelFlow"
    sys_version = ""

    def do_GET(self) -> None:  # noqa: N802  # the library's name
        path = self.path.partition("?")[0]
        readiness = self.server.readiness if isinstance(self.server, _Server) else None
        if readiness is not None and path in {LIVENESS_PATH, READINESS_PATH}:
            self._send_health(readiness.reasons() if path == READINESS_PATH else [])
            return
        if path != PATH:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self.path = PATH  # without the query, by which the library would filter the metrics
        super().do_GET()

    def _send_health(self, reasons: Sequence[str]) -> None:
        status = {"status": "unavailable", "reasons": list(reasons)} if reasons else {"status": "ok"}
        body = json.dumps(status).encode()
        self.send_response(HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingMixIn, TCPServer):
    """A thread per connection, within the limits. ``prometheus_client.start_http_server`` has none."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(
        self,
        registry: CollectorRegistry,
        family: int,
        address: Any,  # noqa: ANN401  # depends on the family
        max_seconds: float,
        readiness: ReadinessProbe | None,
    ) -> None:
        self.address_family = family
        self.readiness = readiness
        self._max_seconds = max_seconds
        self._deadlines: dict[Any, float] = {}
        """By open connection."""
        super().__init__(address, _Handler.factory(registry))

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  # the library's signature
        if len(self._deadlines) >= MAX_CONNECTIONS:
            self.shutdown_request(request)
            return
        self._deadlines[request] = time.monotonic() + self._max_seconds
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Close connections past their deadline, also those that send byte by byte. Called several times a second."""
        now = time.monotonic()
        for request, deadline in self._deadlines.copy().items():
            if deadline < now:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401
        self._deadlines.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002
        """The client closed the connection or was too slow. The base class would print to stderr."""
        _log.debug("metrics request failed", exc_info=True)
