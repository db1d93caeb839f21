"""Jobs whose time is over → marked as such, and their files written down for the remover and the pruner.

Never touches a file, nor a job that is on its way.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

import structlog

from pixelflow.adapters.postgres.database import AsyncConnection, AsyncDatabase
from pixelflow.controlplane.controller.metrics import RemovedKind
from pixelflow.controlplane.idempotency import store
from pixelflow.controlplane.jobs import transitions
from pixelflow.controlplane.retention import expiry_store
from pixelflow.controlplane.retention.periods import RetentionPeriods

BATCH = 500
NEVER_STARTED_BATCH = 50
"""Jobs that were never started are erased one by one, in one transaction."""

_log = structlog.get_logger(__name__)


class Statement(Protocol):
    """One of ``expiry``."""

    async def __call__(self, connection: AsyncConnection, *, age: timedelta, limit: int) -> int:
        """Returns how many."""


class Expirer:
    """The loop's work, once."""

    name = "expirer"

    def __init__(
        self,
        database: AsyncDatabase,
        periods: RetentionPeriods,
        *,
        removed: Callable[[RemovedKind, int], None] = lambda *_: None,
    ) -> None:
        self._database = database
        self._periods = periods
        self._removed = removed

    async def run_once(self) -> int:
        """Mark some of what is due; returns how much."""
        kept = self._periods
        never_started = await self._erase_never_started(kept.upload)
        sources = await self._some(expiry_store.expire_sources, kept.source)
        outputs = await self._some(expiry_store.expire_outputs, kept.output)
        # Jobs go after their files: while more of those expire, it would look in vain at a growing pile.
        jobs = 0 if sources or outputs else await self._some(expiry_store.delete_jobs, kept.job)
        if total := never_started + sources + outputs + jobs:
            _log.info("expired", never_started=never_started, sources=sources, outputs=outputs, jobs=jobs)
        if never_started:
            self._removed(RemovedKind.UPLOAD, never_started)
        if jobs:
            self._removed(RemovedKind.JOB, jobs)
        return total

    async def _some(self, statement: Statement, age: timedelta | None) -> int:
        if age is None:
            return 0
        async with self._database.connection() as connection:
            return await statement(connection, age=age, limit=BATCH)

    async def _erase_never_started(self, age: timedelta) -> int:
        """As if their owners had: the pruner removes what was uploaded. Nobody is told, since nothing has happened."""
        async with self._database.connection() as connection, connection.transaction():
            due = await expiry_store.lock_never_started(connection, age=age, limit=NEVER_STARTED_BATCH)
            for job in due:
                await transitions.erase(connection, job_id=job.job_id, user_id=job.user_id)
                await store.forget_job(connection, job_id=job.job_id, user_id=job.user_id)
        return len(due)
