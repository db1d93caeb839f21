"""Reaps expired leases: requeues the job, or fails it when it has no attempts left."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import structlog

from pixelflow.adapters.postgres.database import AsyncDatabase
from pixelflow.contracts.jobs import JobStatus
from pixelflow.controlplane.jobs import transitions

BATCH = 100
_EXHAUSTED = (
    "Every attempt ended with a worker that crashed or stopped responding; the image may need more resources than "
    "workers have"
)

_log = structlog.get_logger(__name__)


class ReapOutcome(StrEnum):
    """What happened to a job whose lease expired."""

    REQUEUED = "requeued"
    EXHAUSTED = "exhausted"


class LeaseReaper:
    """A controller loop: takes jobs back from workers that stopped renewing their leases."""

    name = "lease_reaper"

    def __init__(self, database: AsyncDatabase, *, on_reaped: Callable[[ReapOutcome], None] = lambda _: None) -> None:
        """``on_reaped`` is called once for each reaped job."""
        self._database = database
        self._on_reaped = on_reaped

    async def run_once(self) -> int:
        """Reap at most ``BATCH`` expired leases; returns how many."""
        async with self._database.connection() as connection:
            rows = await transitions.reap_expired(connection, limit=BATCH, exhausted=_EXHAUSTED)
        for row in rows:
            self._on_reaped(ReapOutcome.REQUEUED if row.status == JobStatus.QUEUED else ReapOutcome.EXHAUSTED)
            _log.warning(
                "lease expired",
                job_id=str(row.job_id),
                user_id=row.user_id,
                attempt=row.lease_token,
                attempts=row.attempts,
                status=row.status,
            )
        return len(rows)
