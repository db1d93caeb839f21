"""Metrics of the controller: the ticks of its loops, their results, and the counts of the stats collector."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge

from pixelflow.adapters.telemetry.metrics import ProcessMetrics
from pixelflow.contracts.webhooks import DeliveryOutcome
from pixelflow.controlplane.jobs.auto_start import CheckOutcome
from pixelflow.controlplane.jobs.reaper import ReapOutcome
from pixelflow.controlplane.retention.gc import RemovedKind
from pixelflow.controlplane.stats.metrics import DatabaseMetrics


class TickOutcome(StrEnum):
    """The outcome of a tick of a loop."""

    DONE = "done"
    IDLE = "idle"
    UNAVAILABLE = "unavailable"
    FAILED = "failed"


class ControllerMetrics:
    """The metrics of one controller process."""

    def __init__(self, registry: CollectorRegistry, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.process = ProcessMetrics(registry, role="controller")
        self.database = DatabaseMetrics()
        registry.register(self.database)
        self._deliveries = _counter(
            registry,
            "pixelflow_webhook_deliveries_total",
            "Attempts to deliver webhook events, by outcome: delivered, retried (failed, will be retried), exhausted "
            "(failed, was the last attempt), refused (the receiver answered 410, or its address is not allowed).",
            outcome=DeliveryOutcome,
        )
        self._leases = _counter(
            registry,
            "pixelflow_leases_expired_total",
            "Leases that expired because a worker crashed or stopped responding, by what happened to the job: "
            "requeued, or exhausted (it was the last attempt, and the job failed).",
            outcome=ReapOutcome,
        )
        self._source_checks = _counter(
            registry,
            "pixelflow_source_checks_total",
            "Checks of the sources of jobs that start by themselves, by outcome: started, waiting (not there yet), "
            "refused (the job failed), ended (started or canceled by its owner), unavailable (a dependency did not "
            "answer).",
            outcome=CheckOutcome,
        )
        self._removed = _counter(
            registry,
            "pixelflow_retention_removed_total",
            "Items deleted by retention, by kind: files (source, output, asset; orphan: of an attempt that did not "
            "succeed), jobs (upload: never started; job: finished), rows (event, delivery, attempt, idempotency_key; "
            "batch: without jobs; queue_lane: of idle users).",
            kind=RemovedKind,
        )
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

    def record_source_check(self, outcome: CheckOutcome) -> None:
        """Count a check of the source of a job that starts by itself."""
        self._source_checks.labels(outcome).inc()

    def record_removed(self, kind: RemovedKind, count: int) -> None:
        """Count items that retention deleted."""
        self._removed.labels(kind).inc(count)


def _counter(registry: CollectorRegistry, name: str, documentation: str, **labels: type[StrEnum]) -> Counter:
    """Return a counter with one label, which has each of its values from the start."""
    [(label, values)] = labels.items()
    counter = Counter(name, documentation, [label], registry=registry)
    for value in values:
        counter.labels(value)
    return counter
