"""Queued rows → Redis: sends the message of every due row that no message stands for.

Rows get here when Redis was away at the start of their job, when it lost what it held, and when an attempt is due to be
repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import structlog

from pixelflow.adapters.postgres.database import AsyncDatabase
from pixelflow.adapters.queue import JobQueue
from pixelflow.contracts.errors import QueueUnavailableError
from pixelflow.contracts.messages import ProcessImage
from pixelflow.controlplane.queue import store

STALE = timedelta(seconds=15)
"""A message that was not seen for so long is looked for again."""
BATCH = 500

_log = structlog.get_logger(__name__)


class Relay:
    """The loop's work, once."""

    def __init__(
        self,
        database: AsyncDatabase,
        queue: JobQueue,
        *,
        stale: timedelta = STALE,
        enqueued: Callable[[], None] = lambda: None,
    ) -> None:
        """Use what is given; ``enqueued`` is told of each message that was sent."""
        self._database = database
        self._queue = queue
        self._stale = stale
        self._enqueued = enqueued

    async def run_once(self) -> int:
        """Send what is missing; returns how many messages that were.

        Raises:
            QueueUnavailableError: Redis does not answer; the rows are due again at once.
        """
        emptied = await asyncio.to_thread(self._queue.was_emptied)
        if emptied:
            _log.warning("redis holds nothing of what it was sent; queued jobs are sent again")
            async with self._database.connection() as connection:
                await store.unsend_all(connection)
        async with self._database.connection() as connection:
            rows = await store.take_unrelayed(connection, stale=self._stale, limit=BATCH)
        try:
            missing = await asyncio.to_thread(self._send_missing, rows)
        except QueueUnavailableError:
            await self._release(rows)
            raise
        if missing:
            _log.info("relayed", messages=missing)
        return missing

    def _send_missing(self, rows: list[store.QueuedRow]) -> int:
        standing = self._queue.standing([row.task_id for row in rows]) if rows else set()
        missing = [row for row in rows if row.task_id not in standing]
        for row in missing:
            message = ProcessImage(job_id=row.job_id, requested_at=row.run_at, traceparent=row.traceparent)
            self._queue.send(row.task_id, message)
            self._enqueued()
        return len(missing)

    async def _release(self, rows: list[store.QueuedRow]) -> None:
        async with self._database.connection() as connection:
            await store.unsend(connection, {row.job_id: row.task_id for row in rows})
