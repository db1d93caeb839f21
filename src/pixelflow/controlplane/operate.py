"""What an operator does by hand, on the database rather than through the API."""

from __future__ import annotations

import asyncio

from pixelflow.adapters.store.database import AsyncDatabase
from pixelflow.controlplane import keys


def issue_key(database_url: str, *, user_id: str, name: str) -> str:
    """Make an API key for ``user_id`` and return it; it can't be shown again."""

    async def issue() -> str:
        async with AsyncDatabase(database_url, max_connections=1, application="pixelflow-cli") as database:
            return await keys.issue_key(database, user_id=user_id, name=name)

    return asyncio.run(issue())
