"""SQL of API keys. Uses the database's clock, which all processes share. Must never store a secret, only its hash."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pixelflow.adapters.postgres.database import AsyncConnection

_COLUMNS = "key_id, name, scopes, created_at, last_used_at, expires_at, revoked_at, rate_limit"
_ACTIVE = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"


@dataclass(frozen=True)
class ValidKey:
    """An active key, with the columns that authentication needs."""

    key_id: str
    user_id: str
    secret_hash: bytes = field(repr=False)
    scopes: list[str]
    last_use_is_stale: bool
    rate_limit: int | None
    rate_limit_key: str | None


@dataclass(frozen=True)
class KeyRow:
    """A key as shown to its owner."""

    key_id: str
    name: str
    scopes: list[str]
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    rate_limit: int | None


async def find_valid(connection: AsyncConnection, key_id: str, *, stale: timedelta) -> ValidKey | None:
    """Return the key with that ID if it is active, and whether its last use was recorded longer than ``stale`` ago.

    Works on any connection: the SQL function gets access to this one row only, and restores the previous access.
    """
    cursor = await connection.execute(
        f"""
        SELECT key_id, user_id, secret_hash, scopes, rate_limit, rate_limit_key,
               (last_used_at IS NULL OR last_used_at < now() - %(stale)s) AS last_use_is_stale
        FROM find_api_key(%(key_id)s) WHERE {_ACTIVE}
        """,  # noqa: S608 - a fixed condition
        {"key_id": key_id, "stale": stale},
    )
    row = await cursor.fetchone()
    return ValidKey(**row) if row else None


async def find_active_among(connection: AsyncConnection, key_ids: Iterable[str]) -> set[str]:
    """Return those keys that are neither revoked nor expired; ``connection`` has a tenant scope of all users."""
    cursor = await connection.execute(
        f"SELECT key_id FROM api_keys WHERE key_id = ANY(%s) AND {_ACTIVE}",  # noqa: S608 - a fixed condition
        (list(key_ids),),
    )
    return {row["key_id"] for row in await cursor.fetchall()}


async def touch(connection: AsyncConnection, key_id: str, *, stale: timedelta) -> None:
    """Record that the key was used. Of concurrent requests one writes and none waits."""
    await connection.execute(
        """
        UPDATE api_keys SET last_used_at = now() WHERE key_id = (
            SELECT key_id FROM api_keys
            WHERE key_id = %(key_id)s AND (last_used_at IS NULL OR last_used_at < now() - %(stale)s)
            FOR NO KEY UPDATE SKIP LOCKED)
        """,
        {"key_id": key_id, "stale": stale},
    )


async def is_past(connection: AsyncConnection, moment: datetime) -> bool:
    """Whether ``moment`` is in the past."""
    cursor = await connection.execute("SELECT %s <= now() AS past", (moment,))
    row = await cursor.fetchone()
    return bool(row and row["past"])


async def insert(
    connection: AsyncConnection,
    *,
    key_id: str,
    user_id: str,
    name: str,
    secret_hash: bytes,
    scopes: Sequence[str],
    expires_at: datetime | None,
    rate_limit: int | None,
    rate_limit_key: str | None,
    max_keys: int,
) -> KeyRow | None:
    """Insert a key, unless the user has ``max_keys`` active ones. Concurrent inserts may exceed that limit by one.

    If the user has a key with that ID that was never used, it gets the new hash: the same request created it, and is
    repeated because its response was lost.
    """
    cursor = await connection.execute(
        f"""
        INSERT INTO api_keys (key_id, user_id, name, secret_hash, scopes, expires_at, rate_limit, rate_limit_key)
        SELECT %(key_id)s, %(user_id)s, %(name)s, %(secret_hash)s, %(scopes)s, %(expires_at)s,
               %(rate_limit)s, %(rate_limit_key)s
        WHERE (SELECT count(*) FROM api_keys
               WHERE user_id = %(user_id)s AND key_id <> %(key_id)s AND {_ACTIVE}) < %(max_keys)s
        ON CONFLICT (key_id) DO UPDATE SET secret_hash = excluded.secret_hash
            WHERE api_keys.user_id = excluded.user_id AND api_keys.last_used_at IS NULL
        RETURNING {_COLUMNS}
        """,  # noqa: S608 - fixed columns and a fixed condition
        {
            "key_id": key_id,
            "user_id": user_id,
            "name": name,
            "secret_hash": secret_hash,
            "scopes": list(scopes),
            "expires_at": expires_at,
            "rate_limit": rate_limit,
            "rate_limit_key": rate_limit_key,
            "max_keys": max_keys,
        },
    )
    row = await cursor.fetchone()
    return KeyRow(**row) if row else None


async def list_all(connection: AsyncConnection, *, user_id: str, limit: int) -> list[KeyRow]:
    """Return the user's keys: active keys first, then newest first."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM api_keys WHERE user_id = %s ORDER BY ({_ACTIVE}) DESC, created_at DESC LIMIT %s",  # noqa: S608 - fixed columns and a fixed condition
        (user_id, limit),
    )
    return [KeyRow(**row) for row in await cursor.fetchall()]


async def find_scopes(connection: AsyncConnection, *, key_id: str, user_id: str) -> list[str] | None:
    """Return the scopes of the user's key; they never change. ``None`` if the user has no key with that ID."""
    cursor = await connection.execute(
        "SELECT scopes FROM api_keys WHERE key_id = %s AND user_id = %s", (key_id, user_id)
    )
    row = await cursor.fetchone()
    return row["scopes"] if row else None


async def revoke(connection: AsyncConnection, *, key_id: str, user_id: str) -> bool:
    """Revoke the user's key. Return False if the user has no key with that ID."""
    cursor = await connection.execute(
        "UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE key_id = %s AND user_id = %s",
        (key_id, user_id),
    )
    return cursor.rowcount == 1


async def find_user(connection: AsyncConnection, key_id: str) -> str | None:
    """Return the ID of the key's user. Needs a connection with access to all users."""
    cursor = await connection.execute("SELECT user_id FROM api_keys WHERE key_id = %s", (key_id,))
    row = await cursor.fetchone()
    return row["user_id"] if row else None
