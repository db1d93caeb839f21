"""Answers that were kept for repeated requests → nothing, once they are older than they are kept for."""

from __future__ import annotations

from pixelflow.adapters.store import idempotency
from pixelflow.adapters.store.database import AsyncDatabase
from pixelflow.controlplane.idempotency import KEEP

BATCH = 1000


class Sweeper:
    """The loop's work, once."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database

    async def run_once(self) -> int:
        """Forget some; returns how many."""
        async with self._database.connection() as connection:
            return await idempotency.delete_expired(connection, keep=KEEP, limit=BATCH)
