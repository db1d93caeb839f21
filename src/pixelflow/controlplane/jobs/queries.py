"""Jobs as their owners see them: one, or page by page, with fresh download URLs. Changes nothing."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Any
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncDatabase, of_user
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.contracts.errors import FieldError, NotFoundError, ValidationFailedError
from pixelflow.contracts.jobs import Job, JobPage, JobStatus, SourceType
from pixelflow.contracts.pipeline import MEDIA_TYPES, Format, output_name
from pixelflow.controlplane.jobs import store
from pixelflow.controlplane.jobs.responses import to_response
from pixelflow.controlplane.retention.periods import RetentionPeriods
from pixelflow.settings import Settings


class JobQueries:
    """What a user can see of jobs. Every method takes the ``user_id`` that the credentials said."""

    def __init__(self, settings: Settings, *, database: AsyncDatabase, objects: ObjectStorage) -> None:
        self._settings = settings
        self._database = database
        self._objects = objects
        self._periods = RetentionPeriods.of(settings)

    async def get(self, user_id: str, job_id: UUID) -> Job:
        """The job, with a fresh download URL for each output.

        Raises:
            NotFoundError: the user has no such job.
        """
        async with self._database.connection(of_user(user_id)) as connection:
            row = await store.find(connection, job_id=job_id, user_id=user_id)
        if row is None:
            raise job_not_found()
        return self._view(row)

    async def list_newest(self, user_id: str, *, status: JobStatus | None, limit: int, cursor: str | None) -> JobPage:
        """One page of the user's jobs, newest first.

        Raises:
            ValidationFailedError: the cursor is none of ours.
        """
        before = _read_cursor(cursor) if cursor else None
        async with self._database.connection(of_user(user_id)) as connection:
            rows = await store.list_newest(connection, user_id=user_id, status=status, limit=limit + 1, before=before)
        page = rows[:limit]
        return JobPage(
            data=[self._view(row) for row in page],
            next_cursor=_write_cursor(page[-1]) if len(rows) > limit else None,
        )

    def _view(self, row: store.JobRow) -> Job:
        return to_response(row, self._download_url, expires_at=self._periods.expiry_of(row))

    def _download_url(self, row: store.JobRow, output: dict[str, Any]) -> str | None:
        if row.source_type == SourceType.LOCAL_FILE:
            return None
        format_ = Format(output["format"])
        return self._objects.sign_download(
            output["object_key"],
            media_type=MEDIA_TYPES[format_],
            file_name=output_name(output["step_id"], format_),
            seconds=self._settings.download_url_seconds,
        ).url


def job_not_found() -> NotFoundError:
    """What is told of a job that there is not, or that is somebody else's."""
    return NotFoundError("You have no job of that id")


def _write_cursor(row: store.JobRow) -> str:
    return base64.urlsafe_b64encode(f"{row.created_at.isoformat()} {row.job_id}".encode()).decode()


def _read_cursor(cursor: str) -> tuple[datetime, UUID]:
    try:
        created_at, job_id = base64.urlsafe_b64decode(cursor).decode().split(" ")
        return datetime.fromisoformat(created_at), UUID(job_id)
    except (ValueError, binascii.Error) as error:
        wrong = FieldError(pointer="/query/cursor", message="must be a `next_cursor` of an earlier answer")
        raise ValidationFailedError("The cursor can't be read", [wrong]) from error
