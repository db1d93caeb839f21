"""Finishes closed batches whose jobs have all ended, which creates their events. Never changes a job."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import structlog

from pixelflow.adapters.postgres.database import AsyncDatabase
from pixelflow.controlplane.batches import store
from pixelflow.errors import StoreUnavailableError

LIMIT = 200
"""Batches that one tick checks: about 10 ms of Postgres."""
SECOND_LOOK_SECONDS = 1.0
"""Time after which a job that ended during a check is visible."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Look:
    """Batches that a tick checked and that had not finished: a job that ended meanwhile could not make a check due."""

    checked_at: float
    batch_ids: list[UUID]
    has_failed: bool = False


class BatchFinisher:
    """A controller loop. Any number of controllers share the checks."""

    name = "batch_finisher"

    def __init__(self, database: AsyncDatabase, *, clock: Callable[[], float] = time.monotonic) -> None:
        """``database`` has connections for all users."""
        self._database = database
        self._clock = clock
        self._looks: deque[_Look] = deque()

    async def run_once(self) -> int:
        """Check batches that are due; returns how many.

        Raises:
            StoreUnavailableError: Postgres did not answer.
        """
        if self._looks and self._looks[0].checked_at <= self._clock() - SECOND_LOOK_SECONDS:
            await self._look_again(self._looks.popleft())
        async with self._database.connection() as connection:
            checked = await store.finish_due(connection, limit=LIMIT)
        if unfinished := [batch.batch_id for batch in checked if not batch.is_finished]:
            self._looks.append(_Look(self._clock(), unfinished))
        for batch in checked:
            if batch.is_finished:
                _log.info("batch finished", batch_id=str(batch.batch_id), user_id=batch.user_id)
        return len(checked)

    async def _look_again(self, look: _Look) -> None:
        try:
            async with self._database.connection() as connection:
                await store.check_ended(connection, batch_ids=look.batch_ids)
        except StoreUnavailableError as error:
            _log.warning("second look at batches failed", code=error.code)
            if not look.has_failed:  # looks that fail for good must not pile up; these batches are due later anyway
                self._looks.append(_Look(self._clock(), look.batch_ids, has_failed=True))
