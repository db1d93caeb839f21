"""SQL of the lanes and shares of users in the queue."""

from __future__ import annotations

from dataclasses import dataclass

from pixelflow.adapters.postgres.database import AsyncConnection


@dataclass(frozen=True)
class UserShare:
    """The share of a user, and what the user has in the queue."""

    user_id: str
    weight: float
    max_active: int | None
    """``None``: the limit of the settings."""
    waiting: int
    active: int


async def set_share(connection: AsyncConnection, *, user_id: str, weight: float, max_active: int | None) -> None:
    """Set the user's share, for new jobs and for those in the queue. Must run in a transaction.

    Args:
        connection: scoped to the user or to all users.
        user_id: the user.
        weight: relative to that of other users.
        max_active: limit of active jobs; ``None``: that of the settings, from the user's next start on.
    """
    # A statement of its own, so that the next one sees the lanes that a concurrent `enqueue_job` added.
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (user_id,))
    await connection.execute(
        """
        WITH kept AS (
            INSERT INTO queue_shares AS share (user_id, weight, max_active)
            VALUES (%(user_id)s, %(weight)s, %(max_active)s)
            ON CONFLICT (user_id) DO UPDATE SET weight = excluded.weight, max_active = excluded.max_active
            RETURNING user_id, weight, max_active
        ), lanes AS (
            SELECT lane.user_id, requirement_id, kept.weight, kept.max_active
            FROM kept JOIN queue_lanes AS lane ON lane.user_id = kept.user_id
            ORDER BY requirement_id FOR NO KEY UPDATE OF lane
        )
        UPDATE queue_lanes AS lane SET weight = lanes.weight, max_active = lanes.max_active
        FROM lanes WHERE lane.user_id = lanes.user_id AND lane.requirement_id = lanes.requirement_id
        """,
        {"user_id": user_id, "weight": weight, "max_active": max_active},
    )


async def delete_idle_lanes(connection: AsyncConnection, *, limit: int) -> int:
    """Delete lanes of users who have no job in the queue and would lose nothing; returns how many.

    Args:
        connection: with a tenant scope of all users.
        limit: maximum number of lanes.
    """
    cursor = await connection.execute("SELECT delete_idle_lanes(%s::integer) AS lanes", (limit,))
    row = await cursor.fetchone()
    return row["lanes"] if row else 0


async def list_shares(connection: AsyncConnection) -> list[UserShare]:
    """Return the users with a share of their own or with jobs in the queue, ordered by ID."""
    cursor = await connection.execute(
        """
        SELECT user_id, coalesce(share.weight, 1) AS weight, share.max_active,
               coalesce(lane.waiting, 0) AS waiting, coalesce(lane.active, 0) AS active
        FROM queue_shares AS share FULL JOIN (
            SELECT user_id, sum(waiting)::integer AS waiting, max(active) AS active FROM queue_lanes
            WHERE busy GROUP BY user_id
        ) AS lane USING (user_id)
        ORDER BY user_id
        """
    )
    return [UserShare(**row) for row in await cursor.fetchall()]
