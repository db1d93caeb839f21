"""SQL that lists jobs by conditions. Every function is restricted to the jobs of ``user_id``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from pixelflow.adapters.postgres.database import AsyncConnection
from pixelflow.controlplane.jobs.filters import JobFilters
from pixelflow.controlplane.jobs.store import COLUMNS, JobRow

MAX_SCANNED = 1000
"""Jobs that one request reads at most when it lists jobs by several conditions; at 4 pages each, about 10 ms."""
Position = tuple[datetime, UUID]
"""Creation time and ID of the last job that a list has shown."""


@dataclass(frozen=True)
class JobList:
    """Some jobs, newest first."""

    rows: list[JobRow]
    scanned_to: Position | None
    """Where reading stopped before the limit was reached; ``None``: there are no more jobs, or the limit was."""


async def list_newest(
    connection: AsyncConnection,
    *,
    user_id: str,
    filters: JobFilters,
    limit: int,
    before: Position | None,
    scan: int = MAX_SCANNED,
) -> JobList:
    """Return at most ``limit`` of the user's jobs, newest first, after ``before`` (exclusive).

    With a condition of ``job_filters``, ``scan`` jobs that meet this one are read at most; those that meet the others,
    too, are returned.
    """
    # Optional conditions are omitted instead of written as «parameter IS NULL OR …»: Postgres caches one generic plan
    # for a statement that is sent often, and for such a condition that plan reads and sorts all jobs of the user.
    if filters.indexed:
        statement = _scanned_page(filters, before)
    else:
        statement = _page("jobs", [*_checked(filters), *_range(filters, before, "jobs")], order="jobs")
    cursor = await connection.execute(statement, _values(user_id, filters, before) | {"limit": limit, "scan": scan})
    found = await cursor.fetchall()
    ends = [(row.pop("scanned_at"), row.pop("scanned_id")) for row in found] if filters.indexed else []
    rows = [JobRow(**row) for row in found if row["job_id"] is not None]
    return JobList(rows, ends[0] if ends and ends[0][0] is not None else None)


def _page(source: str, conditions: Iterable[str], *, order: str) -> str:
    return f"""
        SELECT {COLUMNS} FROM {source} LEFT JOIN usage_logs ON usage_logs.job_id = jobs.job_id
        WHERE {" AND ".join(["jobs.user_id = %(user_id)s", "erased_at IS NULL", *conditions])}
        ORDER BY {order}.created_at DESC, {order}.job_id DESC
        LIMIT %(limit)s
    """  # noqa: S608  # fixed column names and conditions


def _scanned_page(filters: JobFilters, before: Position | None) -> str:
    """The page and where its scan ended, in one snapshot: a job that comes or goes moves both. At least one row."""
    found = _found(filters, before)
    # Each job is looked up by its ID. By `OFFSET 0`, the planner can't join instead, which may read all jobs of a user.
    looked_up = f"""
        ({found} LIMIT %(scan)s) AS found
        CROSS JOIN LATERAL (SELECT * FROM jobs WHERE job_id = found.job_id OFFSET 0) AS jobs
    """  # noqa: S608  # fixed column names and conditions
    page = _page(looked_up, _checked(filters), order="found")
    return f"""
        WITH page AS MATERIALIZED ({page}), scanned AS (
            SELECT created_at AS scanned_at, job_id AS scanned_id FROM (
                {found} OFFSET %(scan)s - 1
                LIMIT CASE WHEN (SELECT count(*) FROM page) < %(limit)s THEN 1 ELSE 0 END
            ) AS last
        )
        SELECT page.*, scanned_at, scanned_id
        FROM (VALUES (1)) AS one (n) LEFT JOIN scanned ON true LEFT JOIN page ON true
        ORDER BY page.created_at DESC, page.job_id DESC
    """  # noqa: S608  # fixed column names and conditions


def _found(filters: JobFilters, before: Position | None) -> str:
    conditions = ["user_id = %(user_id)s", "digest = filter_digest(%(filter_name)s, %(filter_value)s)"]
    return f"""
        SELECT created_at, job_id FROM job_filters AS entry
        WHERE {" AND ".join([*conditions, *_range(filters, before, "entry")])}
        ORDER BY created_at DESC, job_id DESC
    """  # noqa: S608  # fixed column names and conditions


def _range(filters: JobFilters, before: Position | None, table: str) -> list[str]:
    return [
        *([f"({table}.created_at, {table}.job_id) < (%(at)s, %(job_id)s)"] if before else []),
        *([f"{table}.created_at >= %(created_after)s"] if filters.created_after else []),
        *([f"{table}.created_at < %(created_before)s"] if filters.created_before else []),
    ]


def _checked(filters: JobFilters) -> list[str]:
    """Conditions that are checked for each job; digests may be equal although the values differ."""
    return [
        *(["jobs.status = %(status)s"] if filters.status else []),
        *(["metadata @> %(metadata)s"] if filters.metadata else []),
        *(["preset = %(preset)s"] if filters.preset else []),
        *(["preset_version = %(preset_version)s"] if filters.preset and filters.preset.version else []),
        *(["batch_id = %(batch_id)s"] if filters.batch_id else []),
    ]


def _values(user_id: str, filters: JobFilters, before: Position | None) -> dict[str, Any]:
    at, job_id = before or (None, None)
    filter_name, filter_value = filters.indexed or (None, None)
    return {
        "user_id": user_id,
        "at": at,
        "job_id": job_id,
        "filter_name": filter_name,
        "filter_value": filter_value,
        "status": filters.status,
        "created_after": filters.created_after,
        "created_before": filters.created_before,
        "metadata": Jsonb(dict(filters.metadata)),
        "preset": filters.preset.name if filters.preset else None,
        "preset_version": filters.preset.version if filters.preset else None,
        "batch_id": filters.batch_id,
    }
