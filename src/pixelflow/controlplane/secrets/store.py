"""SQL that lists values which were encrypted with another key, and replaces them. Must never see a decrypted value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncConnection


@dataclass(frozen=True)
class EncryptedSecret:
    """A webhook secret."""

    secret_id: UUID
    user_id: str
    ciphertext: bytes = field(repr=False)


@dataclass(frozen=True)
class EncryptedResponse:
    """A stored response."""

    user_id: str
    key: str
    ciphertext: bytes = field(repr=False)


async def list_secrets(
    connection: AsyncConnection, *, header: bytes, after: EncryptedSecret | None, limit: int
) -> list[EncryptedSecret]:
    """Return webhook secrets after ``after`` whose ciphertext does not begin with ``header``, ordered by ID."""
    cursor = await connection.execute(
        """
        SELECT secret_id, user_id, ciphertext FROM webhook_secrets
        WHERE substring(ciphertext FROM 1 FOR %(length)s) <> %(header)s
          AND (%(after)s::uuid IS NULL OR secret_id > %(after)s)
        ORDER BY secret_id LIMIT %(limit)s
        """,
        {"header": header, "length": len(header), "after": after and after.secret_id, "limit": limit},
    )
    return [EncryptedSecret(**row) for row in await cursor.fetchall()]


async def replace_secrets(connection: AsyncConnection, secrets: Sequence[tuple[EncryptedSecret, bytes]]) -> int:
    """Replace ciphertexts that have not changed meanwhile; returns how many."""
    cursor = await connection.execute(
        """
        UPDATE webhook_secrets AS secret SET ciphertext = changed.after
        FROM unnest(%(ids)s::uuid[], %(before)s::bytea[], %(after)s::bytea[]) AS changed (secret_id, before, after)
        WHERE secret.secret_id = changed.secret_id AND secret.ciphertext = changed.before
        """,
        {
            "ids": [secret.secret_id for secret, _ in secrets],
            "before": [secret.ciphertext for secret, _ in secrets],
            "after": [ciphertext for _, ciphertext in secrets],
        },
    )
    return cursor.rowcount


async def list_responses(
    connection: AsyncConnection, *, header: bytes, after: EncryptedResponse | None, limit: int
) -> list[EncryptedResponse]:
    """As :func:`list_secrets`, for stored responses, ordered by user and key."""
    cursor = await connection.execute(
        """
        SELECT user_id, key, ciphertext FROM idempotency_keys
        WHERE substring(ciphertext FROM 1 FOR %(length)s) <> %(header)s
          AND (user_id, key) > (%(user_id)s, %(key)s)
        ORDER BY user_id, key LIMIT %(limit)s
        """,
        {
            "header": header,
            "length": len(header),
            "user_id": after.user_id if after else "",
            "key": after.key if after else "",
            "limit": limit,
        },
    )
    return [EncryptedResponse(**row) for row in await cursor.fetchall()]


async def replace_responses(connection: AsyncConnection, responses: Sequence[tuple[EncryptedResponse, bytes]]) -> int:
    """As :func:`replace_secrets`, for stored responses."""
    cursor = await connection.execute(
        """
        UPDATE idempotency_keys AS stored SET ciphertext = changed.after
        FROM unnest(%(users)s::text[], %(keys)s::text[], %(before)s::bytea[], %(after)s::bytea[])
             AS changed (user_id, key, before, after)
        WHERE stored.user_id = changed.user_id AND stored.key = changed.key AND stored.ciphertext = changed.before
        """,
        {
            "users": [response.user_id for response, _ in responses],
            "keys": [response.key for response, _ in responses],
            "before": [response.ciphertext for response, _ in responses],
            "after": [ciphertext for _, ciphertext in responses],
        },
    )
    return cursor.rowcount
