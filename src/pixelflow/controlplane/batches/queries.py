"""Reads batches: one with its progress, or a page of them."""

from __future__ import annotations

from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncDatabase, of_user
from pixelflow.contracts.batches import Batch, BatchCounts, BatchPage, BatchSummary
from pixelflow.contracts.jobs.states import FINISHED, JobStatus
from pixelflow.controlplane.batches import store
from pixelflow.controlplane.batches.store import BatchSummaryRow
from pixelflow.controlplane.jobs.pages import decode_cursor, encode_cursor
from pixelflow.errors import NotFoundError


class BatchQueries:
    """The batches of one user. ``user_id`` comes from the authenticated credentials, or from the batch."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database

    async def get(self, user_id: str, batch_id: UUID) -> Batch:
        """Return the batch, with the number of its jobs by status.

        Raises:
            NotFoundError: the user has no such batch.
        """
        async with self._database.connection(of_user(user_id)) as connection:
            row = await store.find(connection, batch_id=batch_id, user_id=user_id)
            if row is None:
                raise batch_not_found()
            found = await store.count_jobs(connection, batch_id=batch_id, user_id=user_id)
        counts = {status: found.get(status, 0) for status in JobStatus}
        total = sum(counts.values())
        finished = sum(counts[status] for status in FINISHED)
        percent = 100 * finished // total if total else 100
        return Batch(**dict(_summary(row)), jobs=BatchCounts(**counts), total=total, percent=percent)

    async def list_newest(self, user_id: str, *, limit: int, cursor: str | None) -> BatchPage:
        """Return one page of the user's batches, newest first.

        Raises:
            ValidationFailedError: the cursor is not a ``next_cursor`` that the API returned.
        """
        before = decode_cursor(cursor)
        async with self._database.connection(of_user(user_id)) as connection:
            rows = await store.list_newest(connection, user_id=user_id, limit=limit + 1, before=before)
        page = rows[:limit]
        last = (page[-1].created_at, page[-1].batch_id) if len(rows) > limit else None
        return BatchPage(data=[_summary(row) for row in page], next_cursor=encode_cursor(last))


def batch_not_found() -> NotFoundError:
    """Return the error for a batch that does not exist or belongs to another user."""
    return NotFoundError("You have no batch with this ID")


def _summary(row: BatchSummaryRow) -> BatchSummary:
    return BatchSummary(
        batch_id=row.batch_id,
        name=row.name,
        preset=row.preset,
        created_at=row.created_at,
        canceled_at=row.canceled_at,
        closed_at=row.closed_at,
        finished_at=row.finished_at,
    )
