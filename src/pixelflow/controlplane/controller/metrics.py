"""Metrics of the controller: the ticks of its loops, their results, and counts of rows in the database.

Every controller exports the same counts of the database: queries must use ``max()``, never ``sum()``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pixelflow.adapters.telemetry.metrics import ProcessMetrics
from pixelflow.contracts.jobs import JobStatus
from pixelflow.contracts.webhooks import DeliveryOutcome

BACKLOG_MAX_AGE_SECONDS = 20.0
"""Older counts of the backlog are omitted: a few missed ticks."""
TOTALS_MAX_AGE_SECONDS = 240.0
BACKLOG_STATUSES = (JobStatus.QUEUED, JobStatus.PROCESSING)
"""Counted with the backlog; jobs in other statuses are counted with the totals."""

_T = TypeVar("_T")


class TickOutcome(StrEnum):
    """The outcome of a tick of a loop."""

    DONE = "done"
    IDLE = "idle"
    UNAVAILABLE = "unavailable"
    FAILED = "failed"


class ReapOutcome(StrEnum):
    """What happened to a job whose lease expired."""

    REQUEUED = "requeued"
    EXHAUSTED = "exhausted"


class RemovedKind(StrEnum):
    """What retention deletes."""

    SOURCE = "source"
    OUTPUT = "output"
    ORPHAN = "orphan"
    UPLOAD = "upload"
    JOB = "job"
    EVENT = "event"
    DELIVERY = "delivery"
    ATTEMPT = "attempt"
    IDEMPOTENCY_KEY = "idempotency_key"


@dataclass(frozen=True)
class Backlog:
    """Work that waits."""

    jobs: Mapping[str, int]
    """By status, of ``BACKLOG_STATUSES``."""
    oldest_job_seconds: float
    """Seconds since the oldest due queued job became due; 0 if no job is due."""
    events: int
    """Pending events."""
    oldest_event_seconds: float
    """Seconds since the oldest overdue event became due; 0 if no event is overdue."""
    unclaimable_jobs: Mapping[str, int]
    """Queued jobs that no live worker can process, by each capability that is missing."""


@dataclass(frozen=True)
class Totals:
    """Counts that take longer."""

    jobs: Mapping[str, int]
    """By status, of all other statuses."""
    active_users: int
    top_pixels: Mapping[str, int]
    """Pixels by user, of the users with most."""


@dataclass
class _Expiring(Generic[_T]):
    """The latest value, until it is too old."""

    max_age: float
    clock: Callable[[], float]
    value: _T | None = None
    expires_at: float = 0.0

    def set(self, value: _T) -> None:
        self.value, self.expires_at = value, self.clock() + self.max_age

    def get(self) -> _T | None:
        return self.value if self.clock() < self.expires_at else None


class DatabaseMetrics(Collector):
    """The latest counts of rows in the database; outdated values are omitted."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.backlog = _Expiring[Backlog](BACKLOG_MAX_AGE_SECONDS, clock)
        self.totals = _Expiring[Totals](TOTALS_MAX_AGE_SECONDS, clock)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Return the families without samples."""
        return self._families(None, None)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return the families with the samples that are up to date."""
        return self._families(self.backlog.get(), self.totals.get())

    def _families(self, backlog: Backlog | None, totals: Totals | None) -> Iterator[GaugeMetricFamily]:
        yield _labeled(
            "pixelflow_jobs",
            "Jobs in the database by status. Queued and processing jobs are counted every few seconds, others every "
            "minute. Every controller exports the same counts: use max(), not sum().",
            "status",
            {**(backlog.jobs if backlog else {}), **(totals.jobs if totals else {})},
        )
        yield _plain(
            "pixelflow_queue_oldest_seconds",
            "Seconds since the oldest due queued job became due; 0 if no job is due.",
            backlog.oldest_job_seconds if backlog else None,
        )
        yield _labeled(
            "pixelflow_queue_unclaimable_jobs",
            "Queued jobs that no live worker can process, by a capability that they require and no live worker has.",
            "requirement",
            backlog.unclaimable_jobs if backlog else {},
        )
        yield _plain(
            "pixelflow_webhook_events_pending",
            "Webhook events that await delivery.",
            backlog.events if backlog else None,
        )
        yield _plain(
            "pixelflow_webhook_oldest_seconds",
            "Seconds since the oldest overdue webhook event became due; 0 if no event is overdue.",
            backlog.oldest_event_seconds if backlog else None,
        )
        yield _plain(
            "pixelflow_usage_active_users",
            "Users that created a job within the last 24 hours.",
            totals.active_users if totals else None,
        )
        yield _labeled(
            "pixelflow_usage_top_pixels_processed",
            "Pixels of outputs within the last 24 hours, of the PIXELFLOW_METRICS_TOP_USERS users with most.",
            "user_id",
            totals.top_pixels if totals else {},
        )


class ControllerMetrics:
    """The metrics of one controller process."""

    def __init__(self, registry: CollectorRegistry, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.process = ProcessMetrics(registry, role="controller")
        self.database = DatabaseMetrics()
        registry.register(self.database)
        self._deliveries = Counter(
            "pixelflow_webhook_deliveries_total",
            "Attempts to deliver webhook events, by outcome: delivered, retried (failed, will be retried), exhausted "
            "(failed, was the last attempt), refused (the receiver answered 410, or its address is not allowed).",
            ["outcome"],
            registry=registry,
        )
        for outcome in DeliveryOutcome:
            self._deliveries.labels(outcome)
        self._leases = Counter(
            "pixelflow_leases_expired_total",
            "Leases that expired because a worker crashed or stopped responding, by what happened to the job: "
            "requeued, or exhausted (it was the last attempt, and the job failed).",
            ["outcome"],
            registry=registry,
        )
        for reaped in ReapOutcome:
            self._leases.labels(reaped)
        self._removed = Counter(
            "pixelflow_retention_removed_total",
            "Items deleted by retention, by kind: files (source, output; orphan: of an attempt that did not succeed), "
            "jobs (upload: never started; job: finished), rows (event, delivery, attempt, idempotency_key).",
            ["kind"],
            registry=registry,
        )
        for kind in RemovedKind:
            self._removed.labels(kind)
        self._ticks = Counter(
            "pixelflow_controller_rounds_total",
            "Ticks of each loop, by outcome: done, idle (nothing to do), unavailable (a dependency did not answer), "
            "failed (a bug; see the log).",
            ["loop", "outcome"],
            registry=registry,
        )
        self._last_tick = Gauge(
            "pixelflow_controller_last_round_timestamp_seconds",
            "Unix time of the last tick of each loop with the outcome done or idle; until then, of the loop's start.",
            ["loop"],
            registry=registry,
        )

    def record_loop_start(self, loop: str) -> None:
        """Record that a loop starts."""
        self._last_tick.labels(loop).set(self._clock())

    def record_tick(self, loop: str, outcome: TickOutcome) -> None:
        """Count a tick of a loop."""
        self._ticks.labels(loop, outcome).inc()
        if outcome in {TickOutcome.DONE, TickOutcome.IDLE}:
            self._last_tick.labels(loop).set(self._clock())

    def record_delivery(self, outcome: str) -> None:
        """Count an attempt to deliver an event."""
        self._deliveries.labels(outcome).inc()

    def record_expired_lease(self, outcome: ReapOutcome) -> None:
        """Count a lease that was reaped."""
        self._leases.labels(outcome).inc()

    def record_removed(self, kind: RemovedKind, count: int) -> None:
        """Count items that retention deleted."""
        self._removed.labels(kind).inc(count)


def _plain(name: str, help_: str, value: float | None) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_)
    if value is not None:
        family.add_metric([], value)
    return family


def _labeled(name: str, help_: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_, labels=[label])
    for label_value, value in values.items():
        family.add_metric([label_value], value)
    return family
