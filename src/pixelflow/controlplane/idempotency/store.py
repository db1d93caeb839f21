"""SQL of idempotency keys and their stored responses. Must never store a response in plain text.

A row is a claim on a key, held under a lease until the response is stored. A request that finds the lease expired takes
over the claim with the same ``resource_id``, so it finds a resource that the first holder created.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncConnection

KEEP = timedelta(hours=24)
"""How long a key and its response are stored."""


@dataclass(frozen=True)
class StoredRequest:
    """A key that the caller does not hold. Without a status it is still in progress, or its job has been erased."""

    fingerprint: bytes
    job_erased: bool
    status: int | None
    ciphertext: bytes | None = field(repr=False)
    """The encrypted body of the response."""


@dataclass(frozen=True)
class AnsweredKey:
    """A new key with its response, which the statement that creates the resource inserts, too."""

    key: str
    fingerprint: bytes
    status: int
    ciphertext: bytes = field(repr=False)


async def claim(
    connection: AsyncConnection,
    *,
    user_id: str,
    key: str,
    fingerprint: bytes,
    job_id: UUID | None,
    resource_id: UUID,
    holder: UUID,
    lease: timedelta,
    keep: timedelta,
) -> UUID | None:
    """Claim a key that is new, older than ``keep``, or held by the same request under an expired lease.

    So is one with an error, which older processes store.

    Return the ID to create the resource under, or ``None`` if the claim failed; :func:`find` says why. One statement,
    so only one of many concurrent requests gets the claim.
    """
    cursor = await connection.execute(
        """
        INSERT INTO idempotency_keys AS kept (user_id, key, fingerprint, job_id, resource_id, holder, lease_until)
        VALUES (%(user_id)s, %(key)s, %(fingerprint)s, %(job_id)s, %(resource_id)s, %(holder)s, now() + %(lease)s)
        ON CONFLICT (user_id, key) DO UPDATE SET
            resource_id = CASE WHEN kept.created_at <= now() - %(keep)s THEN excluded.resource_id
                               ELSE kept.resource_id END,
            job_id      = CASE WHEN kept.created_at <= now() - %(keep)s THEN excluded.job_id ELSE kept.job_id END,
            created_at  = CASE WHEN kept.created_at <= now() - %(keep)s THEN now() ELSE kept.created_at END,
            fingerprint = excluded.fingerprint, holder = excluded.holder, lease_until = excluded.lease_until,
            status = NULL, ciphertext = NULL, job_erased = false
        WHERE kept.created_at <= now() - %(keep)s
           OR ((kept.status >= 400 OR (kept.status IS NULL AND kept.lease_until <= now())) AND NOT kept.job_erased
               AND kept.fingerprint = excluded.fingerprint)
        RETURNING resource_id
        """,
        {
            "user_id": user_id,
            "key": key,
            "fingerprint": fingerprint,
            "job_id": job_id,
            "resource_id": resource_id,
            "holder": holder,
            "lease": lease,
            "keep": keep,
        },
    )
    row = await cursor.fetchone()
    return row["resource_id"] if row else None


async def find(connection: AsyncConnection, *, user_id: str, key: str) -> StoredRequest | None:
    """Return what is stored for the user's key."""
    cursor = await connection.execute(
        "SELECT fingerprint, job_erased, status, ciphertext FROM idempotency_keys WHERE user_id = %s AND key = %s",
        (user_id, key),
    )
    row = await cursor.fetchone()
    return StoredRequest(**row) if row else None


async def finish(
    connection: AsyncConnection, *, user_id: str, key: str, holder: UUID, status: int, ciphertext: bytes
) -> bool:
    """Store the response. Return False if another request took the claim over, or if the job was erased since."""
    cursor = await connection.execute(
        """
        UPDATE idempotency_keys SET status = %s, ciphertext = %s
        WHERE user_id = %s AND key = %s AND holder = %s AND status IS NULL AND NOT job_erased
        """,
        (status, ciphertext, user_id, key, holder),
    )
    return cursor.rowcount == 1


async def release(connection: AsyncConnection, *, user_id: str, key: str, holder: UUID) -> None:
    """Expire the claim's lease without storing a response, so that a repeated request can execute at once."""
    await connection.execute(
        """
        UPDATE idempotency_keys SET lease_until = now()
        WHERE user_id = %s AND key = %s AND holder = %s AND status IS NULL
        """,
        (user_id, key, holder),
    )


async def forget_job(connection: AsyncConnection, *, user_id: str, job_id: UUID) -> None:
    """Delete the responses that describe the job, and prevent later ones. The keys stay, so nothing runs twice."""
    await connection.execute(
        """
        UPDATE idempotency_keys SET job_erased = true, status = NULL, ciphertext = NULL
        WHERE user_id = %s AND job_id = %s
        """,
        (user_id, job_id),
    )


async def delete_expired(connection: AsyncConnection, *, keep: timedelta, limit: int) -> int:
    """Delete at most ``limit`` rows of all users that are older than ``keep``. Return how many."""
    cursor = await connection.execute(
        """
        DELETE FROM idempotency_keys WHERE (user_id, key) IN (
            SELECT user_id, key FROM idempotency_keys WHERE created_at <= now() - %s
            ORDER BY created_at LIMIT %s FOR UPDATE SKIP LOCKED)
        """,
        (keep, limit),
    )
    return cursor.rowcount
