"""What a controller tells: the rounds of its loops, what came of them, and how many of what there are in the database.

Several controllers tell the same of the database: whoever reads it takes the largest, and never the sum.
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

from pixelflow.adapters.telemetry.metrics import ProcessMetrics, QueueMetrics
from pixelflow.contracts.jobs import JobStatus
from pixelflow.contracts.webhooks import DeliveryOutcome

BACKLOG_SECONDS = 20.0
"""How long what was counted of the backlog is told: a few rounds. Then it is not known any more, and not told."""
TOTALS_SECONDS = 240.0
"""The same, of what is counted less often."""
MOVING = (JobStatus.QUEUED, JobStatus.PROCESSING)
"""Counted with the backlog; other statuses with the totals."""

_T = TypeVar("_T")


class TickOutcome(StrEnum):
    """What a round of a loop came to."""

    DONE = "done"
    IDLE = "idle"
    UNAVAILABLE = "unavailable"
    FAILED = "failed"


class Expiry(StrEnum):
    """What became of a job whose worker went silent."""

    REQUEUED = "requeued"
    EXHAUSTED = "exhausted"


class RemovedKind(StrEnum):
    """What retention removes."""

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
    """What waits."""

    jobs: Mapping[str, int]
    """By status: queued and processing."""
    oldest_job_seconds: float
    """How long the longest due queued job has been due; 0: there is none."""
    events: int
    """Pending."""
    oldest_event_seconds: float
    """How long the longest overdue event is overdue; 0: there is none."""


@dataclass(frozen=True)
class Totals:
    """What takes longer to count."""

    jobs: Mapping[str, int]
    """By status: all others."""
    active_users: int
    top_pixels: Mapping[str, int]
    """Pixels by user, of those with most."""


@dataclass
class _Latest(Generic[_T]):
    """Figures that are told until they are too old to be true."""

    seconds: float
    clock: Callable[[], float]
    figures: _T | None = None
    until: float = 0.0

    def keep(self, figures: _T) -> None:
        self.figures, self.until = figures, self.clock() + self.seconds

    def known(self) -> _T | None:
        return self.figures if self.clock() < self.until else None


class CountedMetrics(Collector):
    """What was last counted in the database; nothing at all while that is not known."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.backlog = _Latest[Backlog](BACKLOG_SECONDS, clock)
        self.totals = _Latest[Totals](TOTALS_SECONDS, clock)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The names, also before anything was counted."""
        return self._families(None, None)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The names, and the figures where they are known."""
        return self._families(self.backlog.known(), self.totals.known())

    def _families(self, backlog: Backlog | None, totals: Totals | None) -> Iterator[GaugeMetricFamily]:
        yield _labelled(
            "pixelflow_jobs",
            "Jobs in the database by status: queued and processing as of a few seconds ago, others as of a minute ago. "
            "Every controller tells all of them: take the max.",
            "status",
            {**(backlog.jobs if backlog else {}), **(totals.jobs if totals else {})},
        )
        yield _plain(
            "pixelflow_queue_oldest_seconds",
            "Seconds since the longest due queued job was due; 0: none is.",
            backlog.oldest_job_seconds if backlog else None,
        )
        yield _plain(
            "pixelflow_webhook_events_pending", "Events not delivered yet.", backlog.events if backlog else None
        )
        yield _plain(
            "pixelflow_webhook_oldest_seconds",
            "Seconds since the longest overdue event was to be tried; 0: none is overdue.",
            backlog.oldest_event_seconds if backlog else None,
        )
        yield _plain(
            "pixelflow_usage_active_users",
            "Users that created a job within the last 24 hours.",
            totals.active_users if totals else None,
        )
        yield _labelled(
            "pixelflow_usage_top_pixels_processed",
            "Pixels of outputs within the last 24 hours, of the users with most: as many as "
            "PIXELFLOW_METRICS_TOP_USERS says.",
            "user_id",
            totals.top_pixels if totals else {},
        )


class ControllerMetrics:
    """The counters of one controller process."""

    def __init__(self, registry: CollectorRegistry, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.process = ProcessMetrics(registry, role="controller")
        self.counted = CountedMetrics()
        registry.register(self.counted)
        self._messages = QueueMetrics(registry)
        self._deliveries = Counter(
            "pixelflow_webhook_deliveries_total",
            "Tries at delivering events by what came of them: delivered, retried (failed, another follows), exhausted "
            "(failed, that was the last), refused (the receiver said 410, or PixelFlow does not call the address).",
            ["outcome"],
            registry=registry,
        )
        for outcome in DeliveryOutcome:
            self._deliveries.labels(outcome)
        self._leases = Counter(
            "pixelflow_leases_expired_total",
            "Leases that ran out, because a worker died or went silent, by what became of the job: requeued, or "
            "exhausted (that was its last attempt).",
            ["outcome"],
            registry=registry,
        )
        for expiry in Expiry:
            self._leases.labels(expiry)
        self._removed = Counter(
            "pixelflow_retention_removed_total",
            "What retention removed, by kind: files (source, output; orphan: of an attempt that came to nothing), jobs "
            "(upload: never started; job: over), rows that told of what is over (event, delivery, attempt, "
            "idempotency_key).",
            ["kind"],
            registry=registry,
        )
        for kind in RemovedKind:
            self._removed.labels(kind)
        self._rounds = Counter(
            "pixelflow_controller_rounds_total",
            "Rounds of each loop by what they came to: done, idle (there was nothing to do), unavailable (a server did "
            "not answer), failed (a bug; the log has it).",
            ["loop", "outcome"],
            registry=registry,
        )
        self._last_round = Gauge(
            "pixelflow_controller_last_round_timestamp_seconds",
            "When each loop last ended a round that was done or idle, in seconds since 1970; before that, when it "
            "began.",
            ["loop"],
            registry=registry,
        )

    def loop_began(self, loop: str) -> None:
        """A loop begins its rounds."""
        self._last_round.labels(loop).set(self._clock())

    def round_ended(self, loop: str, outcome: TickOutcome) -> None:
        """A round of a loop is over."""
        self._rounds.labels(loop, outcome).inc()
        if outcome in {TickOutcome.DONE, TickOutcome.IDLE}:
            self._last_round.labels(loop).set(self._clock())

    def enqueued(self) -> None:
        """A message was put on the queue."""
        self._messages.count_enqueued()

    def tried(self, outcome: str) -> None:
        """A try at delivering an event is over, and written."""
        self._deliveries.labels(outcome).inc()

    def lease_expired(self, expiry: Expiry) -> None:
        """A job was taken back from a silent worker."""
        self._leases.labels(expiry).inc()

    def removed(self, kind: RemovedKind, count: int) -> None:
        """Retention removed so many."""
        self._removed.labels(kind).inc(count)


def _plain(name: str, help_: str, value: float | None) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_)
    if value is not None:
        family.add_metric([], value)
    return family


def _labelled(name: str, help_: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_, labels=[label])
    for of, value in values.items():
        family.add_metric([of], value)
    return family
