"""Sends the message of every due job in Postgres that has no message on the queue.

A message is missing when Redis was down as the job was started, when Redis lost its data, or when a retry is due.
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
"""A message that was not seen for this long is looked up again."""
BATCH = 500

_log = structlog.get_logger(__name__)


class Relay:
    """A controller loop."""

    name = "relay"

    def __init__(
        self,
        database: AsyncDatabase,
        queue: JobQueue,
        *,
        stale: timedelta = STALE,
        on_enqueued: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_enqueued`` is called after each message that was sent."""
        self._database = database
        self._queue = queue
        self._stale = stale
        self._on_enqueued = on_enqueued

    async def run_once(self) -> int:
        """Send missing messages; returns how many.

        Raises:
            QueueUnavailableError: Redis does not answer; the rows are due again immediately.
        """
        emptied = await asyncio.to_thread(self._queue.was_emptied)
        if emptied:
            _log.warning("redis was emptied; sending the messages of queued jobs again")
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
            _log.info("messages relayed", messages=missing)
        return missing

    def _send_missing(self, rows: list[store.QueuedRow]) -> int:
        standing = self._queue.standing([row.task_id for row in rows]) if rows else set()
        missing = [row for row in rows if row.task_id not in standing]
        for row in missing:
            message = ProcessImage(job_id=row.job_id, requested_at=row.run_at, traceparent=row.traceparent)
            self._queue.send(row.task_id, message)
            self._on_enqueued()
        return len(missing)

    async def _release(self, rows: list[store.QueuedRow]) -> None:
        async with self._database.connection() as connection:
            await store.unsend(connection, {row.job_id: row.task_id for row in rows})
