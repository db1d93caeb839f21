"""The secrets that users' webhooks are signed with, encrypted before they get here; one of a user's is current.

Writes belong in a transaction: those of one user wait for each other.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncConnection

_LOCK = 0x5748  # «WH»; with the user's hash, one lock per user


async def list_valid(connection: AsyncConnection, user_id: str) -> list[bytes]:
    """The user's sealed secrets that sign today, the current one first."""
    cursor = await connection.execute(
        """
        SELECT sealed FROM webhook_secrets WHERE user_id = %s AND (valid_until IS NULL OR valid_until > now())
        ORDER BY valid_until DESC NULLS FIRST
        """,
        (user_id,),
    )
    return [row["sealed"] for row in await cursor.fetchall()]


async def insert_first(connection: AsyncConnection, *, secret_id: UUID, user_id: str, sealed: bytes) -> None:
    """Keep the user's first secret, unless there is a current one already."""
    await _lock(connection, user_id)
    await connection.execute(
        """
        INSERT INTO webhook_secrets (secret_id, user_id, sealed) VALUES (%s, %s, %s)
        ON CONFLICT (user_id) WHERE valid_until IS NULL DO NOTHING
        """,
        (secret_id, user_id, sealed),
    )


async def replace(
    connection: AsyncConnection, *, secret_id: UUID, user_id: str, sealed: bytes, overlap: timedelta, keep: int
) -> datetime | None:
    """Make ``sealed`` the user's current secret; returns until when the one before it signs too, if there was one.

    Args:
        connection: in a transaction.
        secret_id: of the new secret.
        user_id: whose.
        sealed: the new secret.
        overlap: how long the one before it goes on signing.
        keep: earlier secrets that may go on signing; older ones end at once.
    """
    await _lock(connection, user_id)
    await connection.execute(
        """
        DELETE FROM webhook_secrets WHERE user_id = %(user_id)s AND valid_until IS NOT NULL AND secret_id NOT IN (
            SELECT secret_id FROM webhook_secrets WHERE user_id = %(user_id)s AND valid_until > now()
            ORDER BY valid_until DESC LIMIT %(others)s)
        """,
        {"user_id": user_id, "others": keep - 1},
    )
    cursor = await connection.execute(
        """
        UPDATE webhook_secrets SET valid_until = now() + %(overlap)s
        WHERE user_id = %(user_id)s AND valid_until IS NULL
        RETURNING valid_until
        """,
        {"user_id": user_id, "overlap": overlap},
    )
    row = await cursor.fetchone()
    await connection.execute(
        "INSERT INTO webhook_secrets (secret_id, user_id, sealed) VALUES (%s, %s, %s)", (secret_id, user_id, sealed)
    )
    return row["valid_until"] if row else None


async def _lock(connection: AsyncConnection, user_id: str) -> None:
    await connection.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (_LOCK, user_id))
