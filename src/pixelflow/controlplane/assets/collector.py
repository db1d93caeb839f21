"""The garbage collector of assets: deletes those never completed, and the bytes of deleted ones.

It must never touch an asset that a queued or processing job uses.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import structlog

from pixelflow.adapters.postgres.database import AsyncDatabase
from pixelflow.adapters.storage.objects import ObjectStorage, asset_key
from pixelflow.controlplane.assets import store

BATCH = 200
LEASE = timedelta(minutes=1)
"""Of a batch of deletions; also how long the bytes stay at most after the last job in progress that uses them."""

_log = structlog.get_logger(__name__)


class AssetCollector:
    """Deletes assets and their bytes. Every pass is idempotent, so an interrupted one is run again."""

    name = "gc_assets"

    def __init__(
        self,
        database: AsyncDatabase,
        objects: ObjectStorage,
        *,
        pending_age: timedelta,
        upload_grace: timedelta,
        on_removed: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Create the collector.

        Args:
            database: connections for all users.
            objects: object storage.
            pending_age: age at which an asset that was never completed is deleted.
            upload_grace: how long after its deletion an upload may still arrive.
            on_removed: called with the number of assets whose bytes were deleted.
        """
        self._database = database
        self._objects = objects
        self._pending_age = pending_age
        self._upload_grace = upload_grace
        self._on_removed = on_removed

    async def run_once(self) -> int:
        """Run each pass on a batch; returns the number of assets that it handled.

        Raises:
            ObjectsUnavailableError, StoreUnavailableError: some failed; they are due again after ``LEASE``.
        """
        async with self._database.connection() as connection:
            abandoned = await store.delete_never_completed(connection, age=self._pending_age, limit=BATCH)
            due = await store.lease_deletions(connection, lease=LEASE, limit=BATCH)
        if due:
            await self._objects.remove([asset_key(asset_id) for asset_id in due])
            async with self._database.connection() as connection:
                await store.complete_deletions(connection, due, lease=LEASE, upload_grace=self._upload_grace)
            self._on_removed(len(due))
            _log.info("assets deleted", assets=len(due))
        return abandoned + len(due)
