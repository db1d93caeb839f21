"""Jobs of silent workers → the queue, or ``failed`` when their attempts are used up."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from pixelflow.adapters.postgres.database import AsyncDatabase
from pixelflow.contracts.jobs import JobStatus
from pixelflow.controlplane.controller.metrics import Expiry
from pixelflow.controlplane.jobs import transitions

BATCH = 100
_EXHAUSTED = "The workers that tried this job died or went silent each time; the picture may be more than they can take"

_log = structlog.get_logger(__name__)


class LeaseReaper:
    """The loop's work, once."""

    def __init__(self, database: AsyncDatabase, *, expired: Callable[[Expiry], None] = lambda _: None) -> None:
        """Use what is given; ``expired`` is told of each job that was taken back."""
        self._database = database
        self._expired = expired

    async def run_once(self) -> int:
        """Take back expired leases; returns how many."""
        async with self._database.connection() as connection:
            rows = await transitions.reap_expired(connection, limit=BATCH, exhausted=_EXHAUSTED)
        for row in rows:
            self._expired(Expiry.REQUEUED if row.status == JobStatus.QUEUED else Expiry.EXHAUSTED)
            _log.warning(
                "lease expired",
                job_id=str(row.job_id),
                user_id=row.user_id,
                attempt=row.lease_token,
                attempts=row.attempts,
                status=row.status,
            )
        return len(rows)
