"""Files that were written down as to be removed → nothing. Struck out only when they are gone.

A round that is interrupted is done again; removing what is gone does no harm. Keys are those of rows, or lie in the
folder of an attempt that a row names; nothing else is ever removed, whatever it is called.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import timedelta

import structlog

from pixelflow.adapters.postgres.database import AsyncDatabase
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage, source_key
from pixelflow.contracts.errors import DependencyError
from pixelflow.contracts.jobs import SourceType
from pixelflow.controlplane.controller.metrics import RemovedKind
from pixelflow.controlplane.retention import removals_store
from pixelflow.controlplane.retention.removals_store import Removal

BATCH = 200
PATIENCE = timedelta(minutes=1)
"""For one batch."""

MAX_FAILURES = 3
"""Of one kind and round, one by one: it may be storage that is away, and each takes its time."""

_log = structlog.get_logger(__name__)


class Remover:
    """The loop's work, once."""

    name = "remover"

    def __init__(
        self,
        database: AsyncDatabase,
        objects: ObjectStorage,
        local_files: LocalFiles,
        *,
        removed: Callable[[RemovedKind, int], None] = lambda *_: None,
    ) -> None:
        self._database = database
        self._objects = objects
        self._local_files = local_files
        self._removed = removed

    async def run_once(self) -> int:
        """Remove some files; returns of how many sources and attempts.

        Raises:
            ObjectsUnavailableError, StoreUnavailableError: the rest is due again shortly.
        """
        async with self._database.connection() as connection:
            due = await removals_store.take(connection, patience=PATIENCE, limit=BATCH)
        failures = []
        for kind in (RemovedKind.SOURCE, RemovedKind.OUTPUT, RemovedKind.ORPHAN):
            failures += await self._remove_all(kind, [removal for removal in due if removal.kind == kind])
        if failures:
            raise failures[0]
        return len(due)

    async def _remove_all(self, kind: RemovedKind, due: Sequence[Removal]) -> list[DependencyError]:
        """Those of one kind, together; where that fails, one by one: what storage refuses must keep nothing else."""
        if not due or await self._remove_together(kind, due) is None:
            return []
        failures: list[DependencyError] = []
        for each in random.sample(due, len(due)):  # what fails first today must not be first for ever
            if failure := await self._remove_together(kind, [each]):
                failures.append(failure)
            if len(failures) == MAX_FAILURES:
                break
        return failures

    async def _remove_together(self, kind: RemovedKind, due: Sequence[Removal]) -> DependencyError | None:
        try:
            count = await self._remove_files(kind, due)
            async with self._database.connection() as connection:
                await removals_store.strike_out(connection, due)
        except DependencyError as error:
            return error
        if count:
            self._removed(kind, count)
            _log.info("removed", kind=kind, files=count)
        return None

    async def _remove_files(self, kind: RemovedKind, due: Sequence[Removal]) -> int:
        local = [removal for removal in due if removal.source_type == SourceType.LOCAL_FILE]
        stored = [removal for removal in due if removal.source_type != SourceType.LOCAL_FILE]
        removed = await asyncio.to_thread(self._remove_local, kind, local)
        match kind:
            case RemovedKind.SOURCE:
                return removed + await self._remove_objects([source_key(removal.job_id) for removal in stored])
            case RemovedKind.OUTPUT:
                return removed + await self._remove_objects(_keys(stored))
        return removed + sum([await self._objects.remove_attempt(each.job_id, each.attempt) for each in stored])

    def _remove_local(self, kind: RemovedKind, due: Sequence[Removal]) -> int:
        """Never a source: under a local root that is its owner's file, and nobody has written it down."""
        if kind is RemovedKind.ORPHAN:
            return sum(self._local_files.remove_attempt(each.source_key, each.job_id, each.attempt) for each in due)
        if kind is RemovedKind.OUTPUT:
            for each in due:
                self._local_files.remove_job(each.source_key, each.job_id)
        return len(_keys(due))

    async def _remove_objects(self, keys: Sequence[str]) -> int:
        if keys:
            await self._objects.remove(keys)
        return len(keys)


def _keys(due: Sequence[Removal]) -> list[str]:
    return [key for each in due for key in each.output_keys]
