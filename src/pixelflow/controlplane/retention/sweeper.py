"""Rows that tell of what is over → nothing: kept answers, events and their deliveries, attempts, once they are old.

Never touches a job, nor what a user is billed by.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import structlog

from pixelflow.adapters.postgres.database import AsyncDatabase
from pixelflow.controlplane.controller.metrics import RemovedKind
from pixelflow.controlplane.idempotency import store
from pixelflow.controlplane.retention import history_store

BATCH = 1000

_log = structlog.get_logger(__name__)


class Sweeper:
    """The loop's work, once."""

    name = "sweeper"

    def __init__(
        self, database: AsyncDatabase, *, keep: timedelta, removed: Callable[[RemovedKind, int], None] = lambda *_: None
    ) -> None:
        """Use what is given; ``keep`` is for how long events and attempts are kept."""
        self._database = database
        self._keep = keep
        self._removed = removed

    async def run_once(self) -> int:
        """Forget some of what is due; returns how many rows."""
        async with self._database.connection() as connection:
            keys = await store.delete_expired(connection, keep=store.KEEP, limit=BATCH)
            told = await history_store.delete_events(connection, age=self._keep, limit=BATCH)
            attempts = await history_store.delete_attempts(connection, age=self._keep, limit=BATCH)
        counts = {
            RemovedKind.IDEMPOTENCY_KEY: keys,
            RemovedKind.EVENT: told.events,
            RemovedKind.DELIVERY: told.deliveries,
            RemovedKind.ATTEMPT: attempts,
        }
        for kind, count in counts.items():
            if count:
                self._removed(kind, count)
        if any(counts.values()):
            _log.info("swept", **{f"{kind}s": count for kind, count in counts.items()})
        return sum(counts.values())
