"""Metrics of the API's requests."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from pixelflow.adapters.telemetry.metrics import ProcessMetrics, QueueMetrics

METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
OTHER = "other"
"""The label of any other method: clients may send arbitrary ones."""
SECONDS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Fine around a few milliseconds, since a request is a few statements of a few milliseconds each. The longest wait of a
request is for a database connection, 5 s."""


class ApiMetrics:
    """The counters of one API process; safe in all its threads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.process = ProcessMetrics(registry, role="api")
        self._messages = QueueMetrics(registry)
        self._requests = Counter(
            "pixelflow_api_requests_total",
            "Requests by method, route template (`unmatched`: no route) and status (0: the client disconnected before "
            "the response).",
            ["method", "route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "pixelflow_api_request_duration_seconds",
            "Seconds from the headers of a request to the last byte of its response, without the time that it only "
            "waited: for a change of a job, or for other requests of its user.",
            ["method", "route"],
            buckets=SECONDS,
            registry=registry,
        )
        self._connections = Gauge("pixelflow_api_connections", "Open client connections.", registry=registry)
        self._connections_closed = Counter(
            "pixelflow_api_connections_closed_total",
            "Connections that the server closed by reason: the code of the error, `evicted` (idle, for a new one) or "
            "`unread` (the client did not read the response).",
            ["reason"],
            registry=registry,
        )
        self._streams = Gauge(
            "pixelflow_api_streams", "Open event streams and requests with `wait`.", registry=registry
        )
        self._waits = Histogram(
            "pixelflow_api_user_wait_seconds",
            "Seconds that a request waited because its user had more than a share of a busy process, if it did.",
            buckets=SECONDS,
            registry=registry,
        )
        self._rejections = Counter(
            "pixelflow_api_rate_limit_rejections_total",
            "Requests rejected with 429 because their user or client network exceeded its rate limit.",
            ["route"],
            registry=registry,
        )
        self._unavailable = Counter(
            "pixelflow_api_rate_limit_unavailable_total",
            "Requests that were not counted against a rate limit because Redis was unavailable.",
            registry=registry,
        )

    def request_finished(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            method: as received.
            route: the template of its path.
            status: of the response; 0 if there was none.
            seconds: its duration.
        """
        label = method if method in METHODS else OTHER
        self._requests.labels(label, route, status).inc()
        self._seconds.labels(label, route).observe(seconds)

    def connections_open(self, count: int) -> None:
        """Set the number of open connections."""
        self._connections.set(count)

    def connection_closed(self, reason: str) -> None:
        """Count a connection that the server closed: an error code, or another of a few reasons."""
        self._connections_closed.labels(reason).inc()

    def streams_open(self, count: int) -> None:
        """Set the number of event streams and waiting requests."""
        self._streams.set(count)

    def waited(self, seconds: float) -> None:
        """Record how long a request waited for the time of its user."""
        self._waits.observe(seconds)

    def enqueued(self) -> None:
        """Count a message that was put on the queue."""
        self._messages.count_enqueued()

    def rate_limit_rejected(self, route: str) -> None:
        """Count a request that exceeded a rate limit."""
        self._rejections.labels(route).inc()

    def rate_limit_unavailable(self) -> None:
        """Count a request that Redis could not count."""
        self._unavailable.inc()
