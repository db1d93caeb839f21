"""A remover that stops in the middle of a round, to be killed there: ``before`` or ``after`` the objects are gone."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence

from pixelflow.adapters.postgres.database import EVERYONE, AsyncDatabase
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.controlplane.retention.remover import Remover
from pixelflow.settings import load


class StalledStorage(ObjectStorage):
    """Says that it has got there, and goes no further."""

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove them, or not."""
        if sys.argv[1] == "after":
            await super().remove(keys)
        sys.stdout.write("stalled\n")
        sys.stdout.flush()
        signal.pause()


async def _run() -> None:
    settings = load()
    url = settings.database_url.get_secret_value()
    async with AsyncDatabase(url, max_connections=1, application="test", scope=EVERYONE) as database:
        await Remover(database, StalledStorage(settings), LocalFiles(())).run_once()


if __name__ == "__main__":
    asyncio.run(_run())
