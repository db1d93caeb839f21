"""Pages of jobs, and their cursors."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncConnection
from pixelflow.contracts.field_errors import validation_failed
from pixelflow.controlplane.jobs import lists
from pixelflow.controlplane.jobs.filters import JobFilters
from pixelflow.controlplane.jobs.lists import Position
from pixelflow.controlplane.jobs.store import JobRow
from pixelflow.errors import FieldError


async def find_page(
    connection: AsyncConnection, user_id: str, filters: JobFilters, *, limit: int, before: Position | None
) -> tuple[list[JobRow], Position | None]:
    """Return a page of the user's jobs, newest first, and where the next one begins; ``None``: it is the last one.

    With several conditions, a page may have fewer jobs than ``limit``, or none, although another one follows.
    """
    found = await lists.list_newest(connection, user_id=user_id, filters=filters, limit=limit + 1, before=before)
    page = found.rows[:limit]
    if len(found.rows) > limit:
        return page, (page[-1].created_at, page[-1].job_id)
    return page, found.scanned_to


def encode_cursor(last: Position | None) -> str | None:
    """Return ``next_cursor`` of a response."""
    if last is None:
        return None
    created_at, item_id = last
    return base64.urlsafe_b64encode(f"{created_at.isoformat()} {item_id}".encode()).decode()


def decode_cursor(cursor: str | None, pointer: str = "/query/cursor") -> Position | None:
    """Return the position of a cursor.

    Raises:
        ValidationFailedError: it is not a ``next_cursor`` that the API returned.
    """
    if not cursor:
        return None
    try:
        created_at, item_id = base64.urlsafe_b64decode(cursor).decode().split(" ")
        return datetime.fromisoformat(created_at), UUID(item_id)
    except (ValueError, binascii.Error) as error:
        invalid = FieldError(pointer=pointer, message="must be the `next_cursor` of an earlier response")
        raise validation_failed([invalid]) from error
