"""SQL of assets. Every function is restricted to the assets of ``user_id``, except those of the garbage collector.

A deleted asset is a tombstone: no function for users finds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncConnection

_COLUMNS = "asset_id, name, bytes, content_type, created_at, ready_at"


@dataclass(frozen=True)
class AssetRow:
    """An asset as shown to its owner."""

    asset_id: UUID
    name: str
    bytes: int
    content_type: str | None
    created_at: datetime
    ready_at: datetime | None
    """``None``: pending."""


async def insert(
    connection: AsyncConnection,
    *,
    asset_id: UUID,
    user_id: str,
    name: str,
    size: int,
    content_type: str | None,
    max_assets: int,
    max_total_bytes: int,
) -> AssetRow | None:
    """Insert a pending asset. ``None``: the ID or the name is in use, or a limit of the user would be exceeded.

    Concurrent inserts may exceed the limits by one asset each.
    """
    cursor = await connection.execute(
        f"""
        INSERT INTO assets (asset_id, user_id, name, bytes, content_type)
        SELECT %(asset_id)s, %(user_id)s, %(name)s, %(size)s, %(content_type)s
        FROM (SELECT count(*) AS assets, coalesce(sum(bytes), 0) AS total FROM assets
              WHERE user_id = %(user_id)s AND deleted_at IS NULL) AS existing
        WHERE assets < %(max_assets)s AND total + %(size)s <= %(max_total_bytes)s
        ON CONFLICT DO NOTHING
        RETURNING {_COLUMNS}
        """,  # noqa: S608 - fixed columns
        {
            "asset_id": asset_id,
            "user_id": user_id,
            "name": name,
            "size": size,
            "content_type": content_type,
            "max_assets": max_assets,
            "max_total_bytes": max_total_bytes,
        },
    )
    row = await cursor.fetchone()
    return AssetRow(**row) if row else None


async def find(connection: AsyncConnection, *, asset_id: UUID, user_id: str) -> AssetRow | None:
    """Return the user's asset with that ID."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM assets WHERE asset_id = %s AND user_id = %s AND deleted_at IS NULL",  # noqa: S608
        (asset_id, user_id),
    )
    row = await cursor.fetchone()
    return AssetRow(**row) if row else None


async def find_by_name(connection: AsyncConnection, *, name: str, user_id: str) -> AssetRow | None:
    """Return the user's asset with that name."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM assets WHERE name = %s AND user_id = %s AND deleted_at IS NULL",  # noqa: S608
        (name, user_id),
    )
    row = await cursor.fetchone()
    return AssetRow(**row) if row else None


async def list_all(connection: AsyncConnection, *, user_id: str) -> list[AssetRow]:
    """Return the user's assets by name. Their number is limited."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM assets WHERE user_id = %s AND deleted_at IS NULL ORDER BY name",  # noqa: S608
        (user_id,),
    )
    return [AssetRow(**row) for row in await cursor.fetchall()]


async def complete(connection: AsyncConnection, *, asset_id: UUID, user_id: str, etag: str) -> AssetRow | None:
    """Make a pending asset ready; ``etag`` identifies the uploaded content. ``None``: the user has no such asset.

    Idempotent: the content of an asset that is ready stays as it was.
    """
    cursor = await connection.execute(
        f"""
        UPDATE assets SET etag = coalesce(etag, %s), ready_at = coalesce(ready_at, now())
        WHERE asset_id = %s AND user_id = %s AND deleted_at IS NULL
        RETURNING {_COLUMNS}
        """,  # noqa: S608 - fixed columns
        (etag, asset_id, user_id),
    )
    row = await cursor.fetchone()
    return AssetRow(**row) if row else None


async def delete(connection: AsyncConnection, *, asset_id: UUID, user_id: str) -> bool:
    """Turn the user's asset into a tombstone; returns whether it existed. Its bytes are due for deletion."""
    cursor = await connection.execute(
        """
        UPDATE assets SET deleted_at = now(), deletion_due_at = now(), name = '', content_type = NULL
        WHERE asset_id = %s AND user_id = %s AND deleted_at IS NULL
        """,
        (asset_id, user_id),
    )
    return cursor.rowcount == 1


# ── Assets of jobs ───────────────────────────────────────────────────────────────────────────────


async def resolve(
    connection: AsyncConnection, *, user_id: str, names: Sequence[str], asset_ids: Sequence[UUID]
) -> list[AssetRow]:
    """Return those of the user's assets that are ready and have one of the names or IDs."""
    cursor = await connection.execute(
        f"""
        SELECT {_COLUMNS} FROM assets
        WHERE user_id = %(user_id)s AND deleted_at IS NULL AND etag IS NOT NULL
          AND (name = ANY(%(names)s::text[]) OR asset_id = ANY(%(asset_ids)s::uuid[]))
        """,  # noqa: S608 - fixed columns
        {"user_id": user_id, "names": list(names), "asset_ids": list(asset_ids)},
    )
    return [AssetRow(**row) for row in await cursor.fetchall()]


async def attach(connection: AsyncConnection, *, job_id: UUID, assets: Mapping[str, UUID]) -> None:
    """Record which asset each reference in the pipeline of a job means. Idempotent: the first record stays."""
    await connection.execute(
        """
        INSERT INTO job_assets (job_id, reference, asset_id)
        SELECT %s, reference, asset_id FROM unnest(%s::text[], %s::uuid[]) AS given (reference, asset_id)
        ON CONFLICT DO NOTHING
        """,
        (job_id, list(assets), list(assets.values())),
    )


# ── Garbage collection, for all users ────────────────────────────────────────────────────────────


async def delete_never_completed(connection: AsyncConnection, *, age: timedelta, limit: int) -> int:
    """Turn assets into tombstones that were created ``age`` ago and never completed; returns how many."""
    cursor = await connection.execute(
        """
        UPDATE assets SET deleted_at = now(), deletion_due_at = now(), name = '', content_type = NULL
        WHERE asset_id IN (
            SELECT asset_id FROM assets WHERE etag IS NULL AND deleted_at IS NULL AND created_at <= now() - %s
            ORDER BY created_at LIMIT %s FOR UPDATE SKIP LOCKED)
        """,
        (age, limit),
    )
    return cursor.rowcount


async def lease_deletions(connection: AsyncConnection, *, lease: timedelta, limit: int) -> list[UUID]:
    """Return deleted assets whose bytes are due for deletion and that no job in progress uses, longest due first.

    Those that are not completed, and those in use, are due again after ``lease``.
    """
    cursor = await connection.execute(
        """
        WITH due AS (
            SELECT asset_id FROM assets WHERE deletion_due_at <= now()
            ORDER BY deletion_due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        )
        UPDATE assets SET deletion_due_at = now() + %(lease)s FROM due WHERE assets.asset_id = due.asset_id
        RETURNING assets.asset_id,
                  EXISTS (SELECT FROM job_assets JOIN jobs USING (job_id)
                          WHERE job_assets.asset_id = due.asset_id AND status IN ('queued', 'processing')) AS in_use
        """,
        {"lease": lease, "limit": limit},
    )
    return [row["asset_id"] for row in await cursor.fetchall() if not row["in_use"]]


async def complete_deletions(
    connection: AsyncConnection, asset_ids: Sequence[UUID], *, lease: timedelta, upload_grace: timedelta
) -> None:
    """Delete the rows of assets whose bytes were deleted. Idempotent.

    Until ``upload_grace`` after the deletion by its owner, an upload may still arrive. If the deletion was leased (for
    ``lease``) before that time, the row stays, and the bytes are due for deletion once more at that time.
    """
    await connection.execute(
        """
        WITH deleted AS (
            SELECT asset_id, deleted_at + %(upload_grace)s AS last_arrival, deletion_due_at - %(lease)s AS leased_at
            FROM assets WHERE asset_id = ANY(%(asset_ids)s) AND deleted_at IS NOT NULL
        ), postponed AS (
            UPDATE assets SET deletion_due_at = last_arrival FROM deleted
            WHERE assets.asset_id = deleted.asset_id AND last_arrival > leased_at
        )
        DELETE FROM assets USING deleted WHERE assets.asset_id = deleted.asset_id AND last_arrival <= leased_at
        """,
        {"asset_ids": list(asset_ids), "lease": lease, "upload_grace": upload_grace},
    )
