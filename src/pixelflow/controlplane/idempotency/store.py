"""What was asked under an ``Idempotency-Key`` and what was answered; answers are encrypted before they get here.

A row is a claim on the key, held under a lease until the answer is there. Whoever finds the lease run out goes on with
the same ``resource_id``, so that what the first one may have created is found again and not made twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncConnection


@dataclass(frozen=True)
class Claimed:
    """The row is the caller's; it is to answer."""

    resource_id: UUID


@dataclass(frozen=True)
class Kept:
    """The row is not the caller's. Without a status, somebody else is still at it, or the job has been erased."""

    fingerprint: bytes
    job_erased: bool
    status: int | None
    sealed: bytes | None = field(repr=False)


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
) -> Claimed | None:
    """Take the key: it is new, or older than ``keep``, or the same request's whose holder has gone silent.

    One statement: of many that come at once, one gets it. ``None``: see ``find``.
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
            status = NULL, sealed = NULL, job_erased = false
        WHERE kept.created_at <= now() - %(keep)s
           OR (kept.status IS NULL AND NOT kept.job_erased AND kept.lease_until <= now()
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
    return Claimed(**row) if row else None


async def find(connection: AsyncConnection, *, user_id: str, key: str) -> Kept | None:
    """What is kept under the user's key."""
    cursor = await connection.execute(
        "SELECT fingerprint, job_erased, status, sealed FROM idempotency_keys WHERE user_id = %s AND key = %s",
        (user_id, key),
    )
    row = await cursor.fetchone()
    return Kept(**row) if row else None


async def finish(
    connection: AsyncConnection, *, user_id: str, key: str, holder: UUID, status: int, sealed: bytes
) -> None:
    """Keep the answer, unless somebody else has taken over or the job has been erased meanwhile."""
    await connection.execute(
        """
        UPDATE idempotency_keys SET status = %s, sealed = %s
        WHERE user_id = %s AND key = %s AND holder = %s AND status IS NULL AND NOT job_erased
        """,
        (status, sealed, user_id, key, holder),
    )


async def release(connection: AsyncConnection, *, user_id: str, key: str, holder: UUID) -> None:
    """Give up without an answer: the next one with the same request goes on at once."""
    await connection.execute(
        """
        UPDATE idempotency_keys SET lease_until = now()
        WHERE user_id = %s AND key = %s AND holder = %s AND status IS NULL
        """,
        (user_id, key, holder),
    )


async def forget_job(connection: AsyncConnection, *, user_id: str, job_id: UUID) -> None:
    """Drop the answers that tell of the job, also those still to come. The keys stay: nothing is done a second time."""
    await connection.execute(
        """
        UPDATE idempotency_keys SET job_erased = true, status = NULL, sealed = NULL
        WHERE user_id = %s AND job_id = %s
        """,
        (user_id, job_id),
    )


async def delete_expired(connection: AsyncConnection, *, keep: timedelta, limit: int) -> int:
    """Forget rows older than ``keep``, at most ``limit``; returns how many. For everybody's."""
    cursor = await connection.execute(
        """
        DELETE FROM idempotency_keys WHERE (user_id, key) IN (
            SELECT user_id, key FROM idempotency_keys WHERE created_at <= now() - %s
            ORDER BY created_at LIMIT %s FOR UPDATE SKIP LOCKED)
        """,
        (keep, limit),
    )
    return cursor.rowcount
