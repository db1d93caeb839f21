"""SQL of usage sums over ``usage_days``, which triggers keep equal to ``usage_logs``, and ``failed_usage``.

Reads a row per user and day, however many jobs there were. Sums are exact at any size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from pixelflow.adapters.postgres.database import AsyncConnection

_SUMS = """
    coalesce(sum(jobs), 0) AS jobs, coalesce(sum(pixels_processed), 0) AS pixels_processed,
    coalesce(sum(bytes_saved), 0) AS bytes_saved, coalesce(sum(compute_time_ms), 0) AS compute_time_ms,
    coalesce(sum(failed_compute_time_ms), 0) AS failed_compute_time_ms
"""
_ROWS = """(
    SELECT user_id, day, jobs, pixels_processed, bytes_saved, compute_time_ms, 0 AS failed_compute_time_ms
    FROM usage_days WHERE day >= %(first)s AND day < %(end)s
    UNION ALL
    SELECT user_id, day, 0, 0, 0, 0, compute_time_ms FROM failed_usage WHERE day >= %(first)s AND day < %(end)s
) AS rows"""
"""Both tables in the range. Days are UTC days."""


@dataclass(frozen=True)
class SumsRow:
    """Sums over rows of both tables."""

    jobs: int
    pixels_processed: int
    bytes_saved: int
    compute_time_ms: int
    failed_compute_time_ms: int


async def by_day(connection: AsyncConnection, *, user_id: str, first: date, end: date) -> dict[date, SumsRow]:
    """Return the user's sums for each UTC day with usage, from ``first`` (included) to ``end`` (not included)."""
    cursor = await connection.execute(
        f"SELECT day, {_SUMS} FROM {_ROWS} WHERE user_id = %(user_id)s GROUP BY day",  # noqa: S608 - fixed columns and conditions
        {"user_id": user_id, "first": first, "end": end},
    )
    return {row["day"]: _sums(row) for row in await cursor.fetchall()}


async def of_everyone_by_day(connection: AsyncConnection, *, first: date, end: date) -> dict[date, SumsRow]:
    """As :func:`by_day`, for all users that the connection has access to."""
    cursor = await connection.execute(
        f"SELECT day, {_SUMS} FROM {_ROWS} GROUP BY day",  # noqa: S608 - as above
        {"first": first, "end": end},
    )
    return {row["day"]: _sums(row) for row in await cursor.fetchall()}


async def of_everyone_by_user(
    connection: AsyncConnection, *, first: date, end: date, after: str, limit: int
) -> tuple[SumsRow, list[tuple[str, SumsRow]]]:
    """Return the total of all users, and the sums of the first ``limit`` users after ``after``, ordered by ID."""
    cursor = await connection.execute(
        f"""
        SELECT * FROM (
            SELECT user_id, {_SUMS} FROM {_ROWS} GROUP BY GROUPING SETS ((), (user_id))
        ) AS sums
        WHERE user_id IS NULL OR user_id > %(after)s
        ORDER BY user_id NULLS FIRST
        LIMIT 1 + %(limit)s
        """,  # noqa: S608 - as above
        {"first": first, "end": end, "after": after, "limit": limit},
    )
    total, *users = await cursor.fetchall()
    return _sums(total), [(row["user_id"], _sums(row)) for row in users]


def _sums(row: Mapping[str, Any]) -> SumsRow:
    """Convert to int: Postgres returns sums of bigint as numeric, which has no upper bound."""
    return SumsRow(**{name: int(row[name]) for name in SumsRow.__dataclass_fields__})
