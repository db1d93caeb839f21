"""Read models of jobs: one job, or a page of jobs, with fresh download URLs. Never writes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel

from pixelflow.adapters.fair_semaphore import FairSemaphore
from pixelflow.adapters.postgres.database import AsyncDatabase, of_user
from pixelflow.adapters.storage.buckets import public_url
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.contracts.jobs.responses import Job, JobAttempt, JobDestination, JobFailure, Output, Source, Usage
from pixelflow.contracts.jobs.sources import SourceType
from pixelflow.contracts.jobs.states import PRIORITY_RANKS
from pixelflow.contracts.presets import JobPreset
from pixelflow.contracts.responses import JobWarning
from pixelflow.controlplane.jobs import store
from pixelflow.controlplane.jobs.filters import JobFilters
from pixelflow.controlplane.jobs.pages import decode_cursor, encode_cursor, find_page
from pixelflow.controlplane.jobs.store import JobRow
from pixelflow.controlplane.retention.periods import RetentionPeriods
from pixelflow.errors import NotFoundError, OutputMissingError
from pixelflow.imaging.formats.registry import FORMATS
from pixelflow.settings import Settings

_PRIORITIES = {rank: priority for priority, rank in PRIORITY_RANKS.items()}

_MAX_PAGES = 4
"""Pages that are made at once. One of 3200 outputs takes 48 ms of CPU, so each user makes one after another."""

OutputUrl = Callable[[JobRow, dict[str, Any]], str | None]
"""Returns a URL of one of a job's outputs."""


class JobQueries:
    """Reads the jobs of one user. ``user_id`` comes from the authenticated credentials."""

    def __init__(self, settings: Settings, *, database: AsyncDatabase, objects: ObjectStorage) -> None:
        self._settings = settings
        self._database = database
        self._objects = objects
        self._periods = RetentionPeriods.of(settings)
        self._pages = FairSemaphore(_MAX_PAGES, share=1)

    async def get(self, user_id: str, job_id: UUID) -> Job:
        """Return the job, with a fresh download URL for each output.

        Raises:
            NotFoundError: the user has no such job.
        """
        return self._response(await self._find(user_id, job_id, with_history=True))

    async def output_url(self, user_id: str, job_id: UUID, step_id: str, method: Literal["GET", "HEAD"]) -> str:
        """Return a URL for a GET or a HEAD of an output's file.

        Raises:
            NotFoundError: the user has no such job.
            OutputMissingError: the job has no such output, or its file has expired or is on the service's disk.
        """
        row = await self._find(user_id, job_id, with_history=False)
        output = next((each for each in row.outputs if each["step_id"] == step_id), None)
        url = None if output is None or row.outputs_expired_at else self._sign_output(row, output, method)
        if url is None:
            raise OutputMissingError("The job has no file to download for this step; see its `status` and `outputs`")
        return url

    async def _find(self, user_id: str, job_id: UUID, *, with_history: bool) -> JobRow:
        async with self._database.connection(of_user(user_id)) as connection:
            row = await store.find(connection, job_id=job_id, user_id=user_id, with_history=with_history)
        if row is None:
            raise job_not_found()
        return row

    async def list_newest(self, user_id: str, filters: JobFilters, *, limit: int, cursor: str | None) -> bytes:
        """Return one page of the user's jobs, newest first: the JSON of a ``JobPage``.

        With several filters, a page may have fewer jobs than ``limit``, or none, although another one follows.

        Raises:
            ValidationFailedError: the cursor is not a ``next_cursor`` that the API returned.
        """
        before = decode_cursor(cursor)
        async with self._pages.place(user_id):
            async with self._database.connection(of_user(user_id)) as connection:
                rows, last = await find_page(connection, user_id, filters, limit=limit, before=before)
            jobs = [job async for job in self._encoded(rows)]
        next_cursor = json.dumps(encode_cursor(last)).encode()
        return b'{"data":[' + b",".join(jobs) + b'],"next_cursor":' + next_cursor + b"}"

    async def _encoded(self, rows: Sequence[JobRow]) -> AsyncIterator[bytes]:
        """Let other requests run after each job that has outputs: a page has up to 3200, of 15 µs each."""
        for row in rows:
            yield self._response(row).model_dump_json(by_alias=True, exclude_unset=True).encode()
            if row.outputs:
                await asyncio.sleep(0)

    def _response(self, row: JobRow) -> Job:
        return to_response(row, self._sign_output, self._public_url, expires_at=self._periods.expiry_of(row))

    def _sign_output(self, row: JobRow, output: dict[str, Any], method: Literal["GET", "HEAD"] = "GET") -> str | None:
        if row.source_type == SourceType.LOCAL_FILE:
            return None
        key: str = output["object_key"]
        format_ = FORMATS.get(output["format"])  # None: of a newer release, whose worker stored the type
        return self._objects.sign_download(
            key,
            media_type=format_.media_type if format_ else None,
            file_name=key.rpartition("/")[2],
            seconds=self._settings.download_url_seconds,
            method=method,
        ).url

    def _public_url(self, row: JobRow, output: dict[str, Any]) -> str | None:
        key = output.get("destination_key")
        bucket = self._settings.named_buckets.get(row.destination["bucket"]) if key and row.destination else None
        return public_url(bucket, key) if bucket and key else None


def job_not_found() -> NotFoundError:
    """Return the error for a job that does not exist or belongs to another user: callers can't distinguish them."""
    return NotFoundError("You have no job with this ID")


# ── Responses ────────────────────────────────────────────────────────────────────────────────────


def to_response(row: JobRow, sign_output: OutputUrl, public: OutputUrl, *, expires_at: datetime | None) -> Job:
    """Convert a row to the API's job. Expired outputs get no download URL."""
    return Job(
        job_id=row.job_id,
        status=row.status,
        source=_source(row),
        pipeline=row.pipeline,
        preset=_preset(row),
        webhook_url=row.webhook_url,
        destination=JobDestination(**_known(JobDestination, row.destination)) if row.destination else None,
        metadata=row.metadata,
        batch_id=row.batch_id,
        priority=_PRIORITIES[row.priority],
        auto_start=row.auto_start,
        waiting_for=row.waiting_for,
        attempts=row.attempts,
        max_attempts=row.max_attempts,
        history=None if row.history is None else [_attempt(each) for each in row.history],
        created_at=row.created_at,
        queued_at=row.queued_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        outputs=[_output(row, output, sign_output, public) for output in row.outputs],
        error=_failure(row.error),
        warnings=[JobWarning(**_known(JobWarning, each)) for each in row.warnings],
        usage=Usage(**row.usage) if row.usage else None,
        expires_at=expires_at,
    )


def _attempt(stored: dict[str, Any]) -> JobAttempt:
    return JobAttempt(**{**stored, "error": _failure(stored["error"])})


def _failure(stored: dict[str, Any] | None) -> JobFailure | None:
    return JobFailure(**_known(JobFailure, stored)) if stored else None


def _preset(row: JobRow) -> JobPreset | None:
    if row.preset is None or row.preset_version is None:
        return None
    return JobPreset(name=row.preset, version=row.preset_version, parameters=row.preset_parameters)


def _output(row: JobRow, output: dict[str, Any], sign_output: OutputUrl, public: OutputUrl) -> Output:
    expired_at = row.outputs_expired_at
    return Output(
        **_known(Output, output),
        url=public(row, output),
        download_url=None if expired_at else sign_output(row, output),
        expired_at=expired_at,
    )


def _known(model: type[BaseModel], stored: dict[str, Any]) -> dict[str, Any]:
    """The fields of the API among those that were stored, possibly by a newer release."""
    return {name: value for name, value in stored.items() if name in model.model_fields}


def _source(row: JobRow) -> Source:
    return Source(
        type=row.source_type,
        object_key=row.source_key,
        bucket=row.source_bucket,
        job_id=row.source_job_id,
        output=row.source_output,
        url=row.source_url.partition("?")[0] if row.source_url else None,
        bytes=row.source_bytes if row.source_bytes is not None else row.declared_bytes,
        content_type=row.declared_content_type,
        sha256=row.source_sha256,
        format=row.source_format,
        width=row.source_width,
        height=row.source_height,
        frames=row.source_frames,
        options=row.source_options,
        expired_at=row.source_expired_at,
    )
