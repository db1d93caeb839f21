"""What an API tells of its requests."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from pixelflow.adapters.telemetry.metrics import ProcessMetrics, QueueMetrics

METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
OTHER = "other"
"""Any other method: strangers may send what they like."""
SECONDS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""A request is a few statements of a few milliseconds each, so the steps are fine there; the longest that is waited for
is a connection to the database, 5 s."""


class ApiMetrics:
    """The counters of one API process; safe in all its threads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.process = ProcessMetrics(registry, role="api")
        self._messages = QueueMetrics(registry)
        self._requests = Counter(
            "pixelflow_api_requests_total",
            "Requests by method, template of the route («unmatched»: there is none) and status (0: the client was gone "
            "before there was an answer).",
            ["method", "route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "pixelflow_api_request_duration_seconds",
            "Seconds from a request's headers to the last byte of its answer.",
            ["method", "route"],
            buckets=SECONDS,
            registry=registry,
        )
        self._rejections = Counter(
            "pixelflow_api_rate_limit_rejections_total",
            "Requests refused with 429, because their user or address had sent too many.",
            ["route"],
            registry=registry,
        )
        self._unavailable = Counter(
            "pixelflow_api_rate_limit_unavailable_total",
            "Requests whose rate could not be judged, because Redis did not answer; a setting says what follows.",
            registry=registry,
        )

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request is over.

        Args:
            method: as it was sent.
            route: the template of its path.
            status: of the answer; 0 if there was none.
            seconds: how long it took.
        """
        known = method if method in METHODS else OTHER
        self._requests.labels(known, route, status).inc()
        self._seconds.labels(known, route).observe(seconds)

    def enqueued(self) -> None:
        """A message was put on the queue."""
        self._messages.count_enqueued()

    def rejected(self, route: str) -> None:
        """A request was refused for its rate."""
        self._rejections.labels(route).inc()

    def unavailable(self) -> None:
        """The rate of a request could not be judged."""
        self._unavailable.inc()
