"""Read models of jobs: one job, or a page of jobs, with fresh download URLs. Never writes."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from functools import cache
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
_SLICE = 8
"""Outputs or jobs of a page after which other requests run. Each of them has some ten steps, and waits at each."""


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
        """Let other requests run in between: a page has up to 3200 outputs, of 15 µs each."""
        made = itertools.count(1)
        for row in rows:
            outputs = []
            for output in row.outputs:
                outputs.append(self._output(row, output))
                if next(made) % _SLICE == 0:
                    await asyncio.sleep(0)
            yield self._job(row, outputs).model_dump_json(by_alias=True, exclude_unset=True).encode()
            if next(made) % _SLICE == 0:
                await asyncio.sleep(0)

    def _response(self, row: JobRow) -> Job:
        return self._job(row, [self._output(row, output) for output in row.outputs])

    def _job(self, row: JobRow, outputs: list[Output]) -> Job:
        return to_response(row, outputs, expires_at=self._periods.expiry_of(row))

    def _output(self, row: JobRow, output: dict[str, Any]) -> Output:
        expired_at = row.outputs_expired_at
        return Output(
            **_known(Output, output),
            url=self._public_url(row, output),
            download_url=None if expired_at else self._sign_output(row, output),
            expired_at=expired_at,
        )

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


def to_response(row: JobRow, outputs: list[Output], *, expires_at: datetime | None) -> Job:
    """Convert a row to the API's job."""
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
        outputs=outputs,
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


def _known(model: type[BaseModel], stored: dict[str, Any]) -> dict[str, Any]:
    """The fields of the API among those that were stored, possibly by a newer release."""
    names = _names(model)
    return {name: value for name, value in stored.items() if name in names}


@cache
def _names(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(model.model_fields)


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
