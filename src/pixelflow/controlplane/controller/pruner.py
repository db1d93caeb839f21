"""Erased jobs → nothing: removes their files, then their rows. A round that is interrupted is done again.

Files can still arrive after an erasure: an upload URL stays valid for its time, which may have begun just before, and a
worker may be storing outputs. So they are removed at once, and once more when nothing can arrive any longer; only then
does the row go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from pixelflow.adapters.local_files import LocalFiles
from pixelflow.adapters.objects import ObjectStorage
from pixelflow.adapters.store import erasure
from pixelflow.adapters.store.database import AsyncDatabase
from pixelflow.adapters.store.erasure import Tombstone
from pixelflow.contracts.job import SourceType

BATCH = 20
PATIENCE = timedelta(minutes=1)
"""For one batch; and for what is still on its way: an upload that began in time, outputs under a lease that is lost."""

_log = structlog.get_logger(__name__)


class Pruner:
    """The loop's work, once."""

    def __init__(
        self,
        database: AsyncDatabase,
        objects: ObjectStorage,
        local_files: LocalFiles,
        *,
        upload_url_valid: timedelta,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._objects = objects
        self._local_files = local_files
        self._upload_url_valid = upload_url_valid
        self._clock = clock

    async def run_once(self) -> int:
        """Remove the files of some erased jobs; returns how many jobs.

        Raises:
            ObjectsUnavailableError, StoreUnavailableError: the rest is due again shortly.
        """
        async with self._database.connection() as connection:
            tombstones = await erasure.take(connection, patience=PATIENCE, limit=BATCH)
        for tombstone in tombstones:
            await self._remove_files(tombstone)
            await self._settle(tombstone)
        return len(tombstones)

    async def _remove_files(self, tombstone: Tombstone) -> None:
        if tombstone.source_type == SourceType.LOCAL_FILE:
            await asyncio.to_thread(self._local_files.remove_job, tombstone.source_key, tombstone.job_id)
        else:
            removed = await self._objects.remove_job(tombstone.job_id)
            _log.info("erased", job_id=str(tombstone.job_id), objects=removed)

    async def _settle(self, tombstone: Tombstone) -> None:
        last_arrival = tombstone.erased_at + self._upload_url_valid + PATIENCE
        async with self._database.connection() as connection:
            if self._clock() < last_arrival:
                await erasure.postpone(connection, tombstone.job_id, until=last_arrival)
            else:
                await erasure.remove(connection, tombstone.job_id)
