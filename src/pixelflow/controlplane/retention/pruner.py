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

from pixelflow.adapters.postgres.database import AsyncDatabase
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.contracts.errors import DependencyError
from pixelflow.contracts.jobs import SourceType
from pixelflow.controlplane.retention import erasure_store
from pixelflow.controlplane.retention.erasure_store import Tombstone

BATCH = 20
PATIENCE = timedelta(minutes=1)
"""For one batch."""

_log = structlog.get_logger(__name__)


class Pruner:
    """The loop's work, once."""

    name = "pruner"

    def __init__(
        self,
        database: AsyncDatabase,
        objects: ObjectStorage,
        local_files: LocalFiles,
        *,
        arrivals: timedelta,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Use what is given; ``arrivals`` is how long after an erasure files of the job may still come in."""
        self._database = database
        self._objects = objects
        self._local_files = local_files
        self._arrivals = arrivals
        self._clock = clock

    async def run_once(self) -> int:
        """Remove the files of some erased jobs; returns how many jobs.

        Raises:
            ObjectsUnavailableError, StoreUnavailableError: the rest is due again shortly.
        """
        async with self._database.connection() as connection:
            tombstones = await erasure_store.take(connection, patience=PATIENCE, limit=BATCH)
        failures = [failure for tombstone in tombstones if (failure := await self._prune(tombstone))]
        if failures:
            raise failures[0]
        return len(tombstones)

    async def _prune(self, tombstone: Tombstone) -> DependencyError | None:
        """One job; its failure must not keep the others' files."""
        try:
            await self._remove_files(tombstone)
            await self._settle(tombstone)
        except DependencyError as error:
            return error
        return None

    async def _remove_files(self, tombstone: Tombstone) -> None:
        if tombstone.source_type == SourceType.LOCAL_FILE:
            await asyncio.to_thread(self._local_files.remove_job, tombstone.source_key, tombstone.job_id)
        else:
            removed = await self._objects.remove_job(tombstone.job_id)
            _log.info("erased", job_id=str(tombstone.job_id), objects=removed)

    async def _settle(self, tombstone: Tombstone) -> None:
        last_arrival = tombstone.erased_at + self._arrivals
        async with self._database.connection() as connection:
            if self._clock() < last_arrival:
                await erasure_store.postpone(connection, tombstone.job_id, until=last_arrival)
            else:
                await erasure_store.remove(connection, tombstone.job_id)
