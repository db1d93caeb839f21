"""SQL of webhook endpoints. Every function is restricted to the endpoints of ``user_id``.

A trigger on ``jobs`` creates the events of endpoints. It reads the rows of this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncConnection

_COLUMNS = "endpoint_id, url, event_types, description, enabled, created_at"


@dataclass(frozen=True)
class EndpointRow:
    """An endpoint."""

    endpoint_id: UUID
    url: str
    event_types: list[str] | None
    description: str
    enabled: bool
    created_at: datetime


@dataclass(frozen=True)
class EndpointChange:
    """New values of an endpoint. ``None`` keeps a value."""

    url: str | None
    description: str | None
    enabled: bool | None
    changes_event_types: bool
    event_types: Sequence[str] | None


async def lock(connection: AsyncConnection, *, user_id: str) -> None:
    """Keep other transactions from adding or changing endpoints of this user. Must run in a transaction."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('endpoints:' || %s, 0))", (user_id,))


async def count_others(connection: AsyncConnection, *, user_id: str, endpoint_id: UUID) -> int:
    """Count the user's endpoints, except this one."""
    cursor = await connection.execute(
        "SELECT count(*) AS others FROM webhook_endpoints WHERE user_id = %s AND endpoint_id <> %s",
        (user_id, endpoint_id),
    )
    row = await cursor.fetchone()
    return row["others"] if row else 0


async def insert(connection: AsyncConnection, *, user_id: str, endpoint: EndpointRow) -> EndpointRow | None:
    """Add an endpoint; ``None`` if another one of the user has its URL. Has no effect if it was added before."""
    cursor = await connection.execute(
        f"""
        WITH added AS (
            INSERT INTO webhook_endpoints (endpoint_id, user_id, url, event_types, description, enabled)
            VALUES (%(endpoint_id)s, %(user_id)s, %(url)s, %(event_types)s, %(description)s, %(enabled)s)
            ON CONFLICT DO NOTHING
            RETURNING {_COLUMNS}
        )
        SELECT {_COLUMNS} FROM added
        UNION ALL
        SELECT {_COLUMNS} FROM webhook_endpoints WHERE endpoint_id = %(endpoint_id)s AND user_id = %(user_id)s
        """,  # noqa: S608 - fixed columns
        {**vars(endpoint), "user_id": user_id},
    )
    row = await cursor.fetchone()
    return EndpointRow(**row) if row else None


async def find(connection: AsyncConnection, *, user_id: str, endpoint_id: UUID) -> EndpointRow | None:
    """Return an endpoint; ``None`` if the user has no such one."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM webhook_endpoints WHERE user_id = %s AND endpoint_id = %s",  # noqa: S608
        (user_id, endpoint_id),
    )
    row = await cursor.fetchone()
    return EndpointRow(**row) if row else None


async def list_all(connection: AsyncConnection, *, user_id: str) -> list[EndpointRow]:
    """Return the user's endpoints, oldest first."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM webhook_endpoints WHERE user_id = %s ORDER BY created_at, endpoint_id",  # noqa: S608
        (user_id,),
    )
    return [EndpointRow(**row) for row in await cursor.fetchall()]


async def has_url(connection: AsyncConnection, *, user_id: str, url: str, except_for: UUID) -> bool:
    """Return whether another endpoint of the user has this URL. Call :func:`lock` before."""
    cursor = await connection.execute(
        "SELECT FROM webhook_endpoints WHERE user_id = %s AND url = %s AND endpoint_id <> %s",
        (user_id, url, except_for),
    )
    return await cursor.fetchone() is not None


async def update(
    connection: AsyncConnection, *, user_id: str, endpoint_id: UUID, change: EndpointChange
) -> EndpointRow | None:
    """Change an endpoint; ``None`` if the user has no such one. Call :func:`has_url` before, for a new URL."""
    cursor = await connection.execute(
        f"""
        UPDATE webhook_endpoints
        SET url = coalesce(%(url)s, url),
            description = coalesce(%(description)s, description),
            enabled = coalesce(%(enabled)s, enabled),
            event_types = CASE WHEN %(changes_event_types)s THEN %(event_types)s::text[] ELSE event_types END
        WHERE user_id = %(user_id)s AND endpoint_id = %(endpoint_id)s
        RETURNING {_COLUMNS}
        """,  # noqa: S608 - fixed columns
        {**vars(change), "user_id": user_id, "endpoint_id": endpoint_id},
    )
    row = await cursor.fetchone()
    return EndpointRow(**row) if row else None


async def delete(connection: AsyncConnection, *, user_id: str, endpoint_id: UUID) -> bool:
    """Delete an endpoint. Its pending events end when they are due. Returns whether there was one."""
    cursor = await connection.execute(
        "DELETE FROM webhook_endpoints WHERE user_id = %s AND endpoint_id = %s", (user_id, endpoint_id)
    )
    return cursor.rowcount == 1


async def insert_test_event(
    connection: AsyncConnection, *, user_id: str, endpoint_id: UUID, event_id: str, event_type: str
) -> bool:
    """Create an event without a job; returns whether the user has this endpoint. Has no effect if the event exists."""
    cursor = await connection.execute(
        """
        WITH endpoint AS (
            SELECT endpoint_id, user_id, url FROM webhook_endpoints
            WHERE user_id = %(user_id)s AND endpoint_id = %(endpoint_id)s
        ), created AS (
            INSERT INTO events (event_id, run, user_id, type, url, endpoint_id)
            SELECT %(event_id)s, 0, user_id, %(event_type)s, url, endpoint_id FROM endpoint
            ON CONFLICT DO NOTHING
        )
        SELECT FROM endpoint
        """,
        {"user_id": user_id, "endpoint_id": endpoint_id, "event_id": event_id, "event_type": event_type},
    )
    return await cursor.fetchone() is not None
