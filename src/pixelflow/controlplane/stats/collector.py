"""Counts rows of the database for the metrics: the backlog every few seconds, totals every minute.

Must stay cheap with millions of jobs, and must never export an outdated value: a value that can't be refreshed is
exported for a few more ticks and then omitted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import structlog

from pixelflow.adapters.postgres.database import AsyncDatabase
from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.controlplane.stats import store
from pixelflow.controlplane.stats.metrics import BACKLOG_STATUSES, Backlog, DatabaseMetrics, Totals
from pixelflow.errors import StoreUnavailableError

PAUSE_SECONDS = 5.0
LEASE = timedelta(seconds=15)
"""Three ticks: when the controller that counts is gone, another one takes over."""
TOTALS_INTERVAL_SECONDS = 60.0
BACKLOG_TIMEOUT_SECONDS = 2.0
"""Of one statement, like the next."""
TOTALS_TIMEOUT_SECONDS = 10.0

_log = structlog.get_logger(__name__)


class StatsCollector:
    """A controller loop: refreshes the metrics that are counted in the database, on one controller at a time."""

    name = "stats_collector"

    def __init__(
        self,
        database: AsyncDatabase,
        metrics: DatabaseMetrics,
        *,
        top_users: int,
        holder: UUID,
        totals_timeout: float = TOTALS_TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create the loop.

        Args:
            database: where to count.
            metrics: where to export.
            top_users: the number of users with a series of their own; 0 disables those series.
            holder: identifies this controller among those that could count.
            totals_timeout: seconds for each statement of the totals.
            clock: in seconds.
        """
        self._database = database
        self._metrics = metrics
        self._top_users = top_users
        self._holder = holder
        self._totals_timeout = totals_timeout
        self._clock = clock
        self._totals_due_at = float("-inf")

    async def run_once(self) -> int:
        """Count the backlog and, once a minute, the totals, unless another controller does.

        Always returns 0: there is never more to do at once.

        Raises:
            StoreUnavailableError: the backlog could not be counted.
        """
        if not await self._acquire_lease():
            self._metrics.clear()
            self._totals_due_at = float("-inf")
            return 0
        self._metrics.backlog.set(await self._count_backlog())
        if self._clock() >= self._totals_due_at:
            self._totals_due_at = self._clock() + TOTALS_INTERVAL_SECONDS
            await self._refresh_totals()
        return 0

    async def _acquire_lease(self) -> bool:
        async with self._database.connection() as connection:
            return await store.acquire_lease(connection, holder=self._holder, lease=LEASE)

    async def _count_backlog(self) -> Backlog:
        async with (
            self._database.connection() as connection,
            store.with_statement_timeout(connection, seconds=BACKLOG_TIMEOUT_SECONDS),
        ):
            queued = await store.count_queued(connection)
            processing = await store.count_processing(connection)
            unclaimable = await store.count_unclaimable(connection)
            events = await store.count_pending_events(connection)
        return Backlog(
            jobs={JobStatus.QUEUED: queued.count, JobStatus.PROCESSING: processing},
            oldest_job_seconds=queued.oldest_seconds,
            events=events.count,
            oldest_event_seconds=events.oldest_seconds,
            unclaimable_jobs=unclaimable,
        )

    async def _refresh_totals(self) -> None:
        """Count the totals; on a timeout only log, so that the backlog is still counted every few seconds."""
        try:
            self._metrics.totals.set(await self._count_totals())
        except StoreUnavailableError as error:
            _log.warning("totals not counted", reason=str(error.__cause__))

    async def _count_totals(self) -> Totals:
        async with (
            self._database.connection() as connection,
            store.with_statement_timeout(connection, seconds=self._totals_timeout),
        ):
            jobs = await store.count_by_status(connection)
            active = await store.count_active_users(connection)
            top = await store.top_users(connection, limit=self._top_users) if self._top_users else {}
        return Totals(
            jobs={status: jobs.get(status, 0) for status in JobStatus if status not in BACKLOG_STATUSES},
            active_users=active,
            top_pixels=top,
        )
