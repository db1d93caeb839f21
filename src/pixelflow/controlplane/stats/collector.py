"""Counts what is in the database, for the metrics: the backlog every few seconds, the rest by the minute.

It must stay cheap beside millions of jobs, and never tell a figure that is not true any more: those that can't be
counted anew are told for a few rounds, and then no more.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from pixelflow.adapters.postgres.database import AsyncDatabase
from pixelflow.contracts.errors import StoreUnavailableError
from pixelflow.contracts.jobs import JobStatus
from pixelflow.controlplane.controller.metrics import MOVING, Backlog, CountedMetrics, Totals
from pixelflow.controlplane.stats import store

PAUSE_SECONDS = 5.0
TOTALS_SECONDS = 60.0
"""Between two counts of what takes longer."""
BACKLOG_PATIENCE_SECONDS = 2.0
TOTALS_PATIENCE_SECONDS = 10.0
"""For one question."""

_log = structlog.get_logger(__name__)


class StatsCollector:
    """The loop's work, once."""

    def __init__(
        self,
        database: AsyncDatabase,
        counted: CountedMetrics,
        *,
        top_users: int,
        totals_patience: float = TOTALS_PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Use what is given; ``top_users`` is how many users are named."""
        self._database = database
        self._counted = counted
        self._top_users = top_users
        self._totals_patience = totals_patience
        self._clock = clock
        self._totals_at = float("-inf")

    async def run_once(self) -> int:
        """Count; there is never more to do at once.

        Raises:
            StoreUnavailableError: the backlog could not be counted.
        """
        self._counted.backlog.keep(await self._backlog())
        if self._clock() >= self._totals_at:
            self._totals_at = self._clock() + TOTALS_SECONDS
            await self._count_totals()
        return 0

    async def _backlog(self) -> Backlog:
        async with (
            self._database.connection() as connection,
            store.with_statement_timeout(connection, seconds=BACKLOG_PATIENCE_SECONDS),
        ):
            queued = await store.count_queued(connection)
            processing = await store.count_processing(connection)
            events = await store.count_pending_events(connection)
        return Backlog(
            jobs={JobStatus.QUEUED: queued.count, JobStatus.PROCESSING: processing},
            oldest_job_seconds=queued.oldest_seconds,
            events=events.count,
            oldest_event_seconds=events.oldest_seconds,
        )

    async def _count_totals(self) -> None:
        """What takes too long must not keep the backlog from being counted."""
        try:
            self._counted.totals.keep(await self._totals())
        except StoreUnavailableError as error:
            _log.warning("totals not counted", reason=str(error.__cause__))

    async def _totals(self) -> Totals:
        async with (
            self._database.connection() as connection,
            store.with_statement_timeout(connection, seconds=self._totals_patience),
        ):
            jobs = await store.count_by_status(connection)
            active = await store.count_active_users(connection)
            top = await store.top_users(connection, limit=self._top_users) if self._top_users else {}
        return Totals(
            jobs={status: jobs.get(status, 0) for status in JobStatus if status not in MOVING},
            active_users=active,
            top_pixels=top,
        )
