"""What became of each try at delivering a job's events, for the job's owner."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncConnection


@dataclass(frozen=True)
class DeliveryRow:
    """One try, and when its event is to be tried next."""

    delivery_id: UUID
    event_id: str
    type: str
    try_: int
    started_at: datetime
    latency_ms: int
    outcome: str
    status_code: int | None
    error: dict[str, Any] | None
    response_excerpt: str | None
    next_try_at: datetime | None


async def list_newest(
    connection: AsyncConnection, *, job_id: UUID, user_id: str, limit: int
) -> list[DeliveryRow] | None:
    """The newest tries at the events of the user's job, newest first; ``None``: the user has no such job."""
    cursor = await connection.execute(
        """
        SELECT delivery_id, deliveries.event_id, type, try AS try_, deliveries.started_at, latency_ms, outcome,
               status_code, deliveries.error, response_excerpt,
               CASE events.status WHEN 'pending' THEN next_try_at END AS next_try_at
        FROM jobs
        LEFT JOIN (events JOIN deliveries ON deliveries.event_id = events.event_id) ON events.job_id = jobs.job_id
        WHERE jobs.job_id = %(job_id)s AND jobs.user_id = %(user_id)s AND jobs.erased_at IS NULL
        ORDER BY deliveries.started_at DESC, delivery_id DESC
        LIMIT %(limit)s
        """,
        {"job_id": job_id, "user_id": user_id, "limit": limit},
    )
    rows = await cursor.fetchall()
    if not rows:
        return None
    return [DeliveryRow(**row) for row in rows if row["delivery_id"] is not None]
