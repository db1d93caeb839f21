"""Metrics that are counts of rows in the database; outdated counts are omitted.

One controller counts and exports them. For some seconds after another one has taken over, both may: queries must use
``max()``, never ``sum()``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pixelflow.contracts.jobs.states import JobStatus

BACKLOG_MAX_AGE_SECONDS = 20.0
"""Older counts of the backlog are omitted: a few missed ticks."""
TOTALS_MAX_AGE_SECONDS = 240.0
BACKLOG_STATUSES = (JobStatus.QUEUED, JobStatus.PROCESSING)
"""Counted with the backlog; jobs in other statuses are counted with the totals."""

_T = TypeVar("_T")


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

    def clear(self) -> None:
        self.value = None

    def get(self) -> _T | None:
        return self.value if self.clock() < self.expires_at else None


class DatabaseMetrics(Collector):
    """The latest counts of rows in the database; outdated values are omitted."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.backlog = _Expiring[Backlog](BACKLOG_MAX_AGE_SECONDS, clock)
        self.totals = _Expiring[Totals](TOTALS_MAX_AGE_SECONDS, clock)

    def clear(self) -> None:
        """Omit all values: another controller exports them."""
        self.backlog.clear()
        self.totals.clear()

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
            "minute, by one controller at a time: use max(), not sum().",
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
