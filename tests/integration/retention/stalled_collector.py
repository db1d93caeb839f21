"""A file collector that stops in the middle of a pass: ``before`` or ``after`` it deletes the objects."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence

from pixelflow.adapters.postgres.database import EVERYONE, AsyncDatabase
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.controlplane.retention.gc import FileCollector
from pixelflow.settings import load


class StalledStorage(ObjectStorage):
    """Prints a line when objects are to be deleted, and waits."""

    async def remove(self, keys: Sequence[str]) -> None:
        """Delete them, or not."""
        if sys.argv[1] == "after":
            await super().remove(keys)
        sys.stdout.write("stalled\n")
        sys.stdout.flush()
        signal.pause()


async def _run() -> None:
    settings = load()
    url = settings.database_url.get_secret_value()
    async with AsyncDatabase(url, max_connections=1, application="test", scope=EVERYONE) as database:
        grace = settings.upload_grace
        await FileCollector(database, StalledStorage(settings), LocalFiles(()), upload_grace=grace).run_once()


if __name__ == "__main__":
    asyncio.run(_run())
