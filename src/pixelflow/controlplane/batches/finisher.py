"""Finishes closed batches whose jobs have all ended, which creates their events. Never changes a job."""

from __future__ import annotations

import structlog

from pixelflow.adapters.postgres.database import AsyncDatabase
from pixelflow.controlplane.batches import store

LIMIT = 200
"""Batches that one tick checks: about 10 ms of Postgres."""

_log = structlog.get_logger(__name__)


class BatchFinisher:
    """A controller loop. Any number of controllers share the checks."""

    name = "batch_finisher"

    def __init__(self, database: AsyncDatabase) -> None:
        """``database`` has connections for all users."""
        self._database = database

    async def run_once(self) -> int:
        """Check batches that are due; returns how many.

        Raises:
            StoreUnavailableError: Postgres did not answer.
        """
        async with self._database.connection() as connection:
            checked = await store.finish_due(connection, limit=LIMIT)
        for batch in checked:
            if batch.is_finished:
                _log.info("batch finished", batch_id=str(batch.batch_id), user_id=batch.user_id)
        return len(checked)
