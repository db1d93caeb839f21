"""Finishes closed batches whose jobs have all ended, which creates their events. Never changes a job."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from uuid import UUID

import structlog

from pixelflow.adapters.postgres.database import AsyncConnection, AsyncDatabase
from pixelflow.controlplane.batches import store
from pixelflow.errors import StoreUnavailableError

LIMIT = 200
"""Batches that one tick checks: about 10 ms of Postgres."""
SECOND_LOOK_SECONDS = 1.0
"""Time after which a job that ended during a check is visible."""
AFTER_FAILURE_SECONDS = 10.0
"""Time until a second look that failed is repeated: longer than the loop pauses after a failure, so that one that fails
for good keeps no batch from being finished."""

_log = structlog.get_logger(__name__)


class BatchFinisher:
    """A controller loop. Any number of controllers share the checks."""

    name = "batch_finisher"

    def __init__(self, database: AsyncDatabase, *, clock: Callable[[], float] = time.monotonic) -> None:
        """``database`` has connections for all users."""
        self._database = database
        self._clock = clock
        self._unfinished: deque[tuple[float, list[UUID]]] = deque()
        """When a tick checked batches, and those that have not finished: a job that ended meanwhile could not make the
        next check due."""

    async def run_once(self) -> int:
        """Check batches that are due; returns how many.

        Raises:
            StoreUnavailableError: Postgres did not answer.
        """
        async with self._database.connection() as connection:
            if self._unfinished and self._unfinished[0][0] <= self._clock() - SECOND_LOOK_SECONDS:
                await self._look_again(connection)
            checked = await store.finish_due(connection, limit=LIMIT)
        if unfinished := [batch.batch_id for batch in checked if not batch.is_finished]:
            self._unfinished.append((self._clock(), unfinished))
        for batch in checked:
            if batch.is_finished:
                _log.info("batch finished", batch_id=str(batch.batch_id), user_id=batch.user_id)
        return len(checked)

    async def _look_again(self, connection: AsyncConnection) -> None:
        _, batch_ids = self._unfinished.popleft()
        try:
            await store.check_ended(connection, batch_ids=batch_ids)
        except StoreUnavailableError:
            self._unfinished.append((self._clock() + AFTER_FAILURE_SECONDS, batch_ids))
            raise
