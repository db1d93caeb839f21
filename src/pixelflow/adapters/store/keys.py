"""API keys: only the hash of a secret is here."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from pixelflow.adapters.store.database import AsyncConnection


@dataclass(frozen=True)
class StoredKey:
    """What is known of a key."""

    key_id: str
    user_id: str
    secret_hash: bytes = field(repr=False)
    expires_at: datetime | None
    revoked_at: datetime | None


async def insert(connection: AsyncConnection, *, key_id: str, user_id: str, name: str, secret_hash: bytes) -> None:
    """Keep a new key."""
    await connection.execute(
        "INSERT INTO api_keys (key_id, user_id, name, secret_hash) VALUES (%s, %s, %s, %s)",
        (key_id, user_id, name, secret_hash),
    )


async def find(connection: AsyncConnection, key_id: str) -> StoredKey | None:
    """The key of that id, valid or not."""
    cursor = await connection.execute(
        "SELECT key_id, user_id, secret_hash, expires_at, revoked_at FROM api_keys WHERE key_id = %s", (key_id,)
    )
    row = await cursor.fetchone()
    return StoredKey(**row) if row else None
