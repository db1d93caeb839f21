"""Operations on jobs, shared by both clients. Does no I/O: operations yield requests and sleeps.

Every POST is safe to retry: start and cancel have no further effect by themselves, and all others carry a new
``Idempotency-Key``, so that a retry has none and gets the first response.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, ValidationError

from pixelflow.client.api_calls import delete, get, parse, post, post_idempotent
from pixelflow.client.errors import InvalidRequestError, JobFailedError, WaitTimeoutError
from pixelflow.client.models import Operation, Paginator, Sleep
from pixelflow.client.session import Session
from pixelflow.client.sources import ExistingSource
from pixelflow.client.transfers import Progress, declared_source, upload
from pixelflow.contracts.explanation import Explanation
from pixelflow.contracts.field_errors import field_errors
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.responses import CreatedJob, Job, JobPage, StartedJob
from pixelflow.contracts.jobs.states import FINISHED, JobStatus, Priority
from pixelflow.contracts.messages import QUEUE, task_id_of
from pixelflow.contracts.preset_templates import Scalar
from pixelflow.imaging.source_options import SourceOptions
from pixelflow.imaging.step import Step

POLL_INTERVAL = 0.05
"""Seconds before the second poll of a job; a small image takes less."""
POLL_GROWTH = 1.5
MAX_POLL_INTERVAL = 2.0
"""Seconds."""

M = TypeVar("M", bound=BaseModel)
Steps = Sequence[Step | Mapping[str, Any]]
"""A pipeline: steps as models or as JSON objects."""
PhotoSource = Path | str | ExistingSource
"""A file to upload, or a source that is there already."""


def create_job(session: Session, request: CreateJobRequest) -> Operation[CreatedJob]:
    """Create a job and return how to upload its source.

    Raises:
        ApiError: the API rejected the request.
        ConnectionFailedError: no response. The job may exist; it does not run unless it is started.
    """
    # Only fields that were set: an older API rejects fields that it does not know.
    body = request.model_dump_json(by_alias=True, exclude_unset=True).encode()
    return (yield from post(session, "/v1/jobs", CreatedJob, body))


def explain(
    session: Session, pipeline: Steps, *, width: int, height: int, content_type: str | None = None, frames: int = 1
) -> Operation[Explanation]:
    """Return what a pipeline would do with a source of this size in pixels; nothing is created.

    Raises:
        InvalidRequestError: the request is not valid; nothing was sent.
        ApiError: the API rejected the request; ``output_too_large`` if a result exceeds the pixel limit.
        ConnectionFailedError: no response.
    """
    declared = {"width": width, "height": height, "frames": frames, "content_type": content_type}
    source = {name: value for name, value in declared.items() if value is not None}
    request = validated(CreateJobRequest, {"source": source, "pipeline": as_objects(pipeline)})
    body = request.model_dump_json(by_alias=True, exclude_unset=True).encode()
    return (yield from post(session, "/v1/jobs?dry_run=true", Explanation, body))


def start_job(session: Session, job_id: UUID | str) -> Operation[StartedJob]:
    """Start a job whose source was uploaded. Idempotent.

    Raises:
        ApiError: the API rejected the request; ``source_missing`` if nothing was uploaded.
        ConnectionFailedError: no response.
    """
    response = yield from post_idempotent(session, f"{_path(job_id)}/start")
    if response.repeated and response.status == HTTPStatus.CONFLICT:
        # An earlier attempt whose response was lost may have started the job, which has ended since.
        job = yield from get_job(session, job_id)
        if job.queued_at is not None:
            return StartedJob(
                job_id=job.job_id,
                status=JobStatus.QUEUED,
                queue=QUEUE,
                task_id=task_id_of(job.job_id, run=1),
                enqueued_at=job.queued_at,
            )
    return parse(response, StartedJob)


def cancel_job(session: Session, job_id: UUID | str) -> Operation[Job]:
    """Cancel a job, even while it is processing, and return it. Idempotent.

    Raises:
        ApiError: the API rejected the request; ``job_already_finished`` if the job succeeded or failed.
        ConnectionFailedError: no response.
    """
    return parse((yield from post_idempotent(session, f"{_path(job_id)}/cancel")), Job)


def retry_job(session: Session, job_id: UUID | str) -> Operation[StartedJob]:
    """Run a failed or canceled job again, with its attempts reset. Has no effect while the job is queued or processing.

    Raises:
        ApiError: the API rejected the request; ``job_already_finished`` if the job succeeded, ``job_not_finished`` if
            it was never started.
        ConnectionFailedError: no response.
    """
    return (yield from post(session, f"{_path(job_id)}/retry", StartedJob))


def erase_job(session: Session, job_id: UUID | str) -> Operation[None]:
    """Delete a job at once, and its source and outputs within seconds. Its billed usage is kept.

    Raises:
        ApiError: the API rejected the request; ``not_found`` also if the job was already deleted.
        ConnectionFailedError: no response.
    """
    yield from delete(session, _path(job_id))


def get_job(session: Session, job_id: UUID | str) -> Operation[Job]:
    """Return a job.

    Raises:
        ApiError: the API rejected the request; ``not_found`` also for a job of another user.
        ConnectionFailedError: no response.
    """
    return (yield from get(session, _path(job_id), Job))


def list_jobs(
    session: Session, *, status: JobStatus | None = None, limit: int | None = None, cursor: str | None = None
) -> Operation[JobPage]:
    """Return one page of jobs, newest first. ``next_cursor`` is the ``cursor`` of the next page.

    Raises:
        ApiError: the API rejected the request.
        ConnectionFailedError: no response.
    """
    query = {"status": status and status.value, "limit": limit, "cursor": cursor}
    return (yield from get(session, "/v1/jobs", JobPage, query=query))


def iter_jobs(session: Session, *, status: JobStatus | None = None, page_size: int | None = None) -> Paginator[Job]:
    """Iterate over all jobs, newest first. Pages are fetched on demand.

    Raises:
        ApiError: the API rejected the request.
        ConnectionFailedError: no response.
    """
    cursor = None
    more = True

    def next_page() -> Operation[list[Job]]:
        nonlocal cursor, more
        page = yield from list_jobs(session, status=status, limit=page_size, cursor=cursor)
        cursor = page.next_cursor
        more = cursor is not None
        return page.data

    while more:
        yield next_page()


def wait(
    session: Session,
    job_id: UUID | str,
    *,
    timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    on_change: Callable[[Job], None] | None = None,
) -> Operation[Job]:
    """Poll a job at growing intervals until it succeeds, and return it.

    A status that this version does not know counts as not finished while ``finished_at`` is not set.

    Args:
        session: of the client.
        job_id: ID of a started job.
        timeout: seconds; None waits without a limit.
        poll_interval: seconds before the second poll; grows to 2 s.
        on_change: called with the job whenever its status or its number of attempts changes.

    Raises:
        JobFailedError: the job failed or was canceled, or it has finished with an unknown status.
        WaitTimeoutError: the job did not finish in time; it continues.
        ApiError: the API rejected the request.
        ConnectionFailedError: no response.
    """
    deadline = None if timeout is None else session.clock() + timeout
    last = None
    while True:
        job = yield from get(session, _path(job_id), Job, deadline=deadline)
        if on_change and last != (last := (job.status, job.attempts)):
            on_change(job)
        if job.status == JobStatus.SUCCEEDED:
            return job
        if _has_ended(job):
            raise JobFailedError(job)
        if timeout is not None and deadline is not None and session.clock() >= deadline:
            raise WaitTimeoutError(job, timeout)
        yield Sleep(poll_interval if deadline is None else max(0.0, min(poll_interval, deadline - session.clock())))
        poll_interval = min(poll_interval * POLL_GROWTH, MAX_POLL_INTERVAL)


def _has_ended(job: Job) -> bool:
    is_known = isinstance(job.status, JobStatus)
    return job.status in FINISHED if is_known else job.finished_at is not None


def submit(
    session: Session,
    path: PhotoSource,
    pipeline: Steps | None = None,
    *,
    preset: str | None = None,
    parameters: Mapping[str, Scalar] | None = None,
    metadata: Mapping[str, str] | None = None,
    webhook_url: str | None = None,
    priority: Priority = Priority.NORMAL,
    source: SourceOptions | None = None,
    on_progress: Progress | None = None,
) -> Operation[StartedJob]:
    """Create a job for the file at ``path``, upload the file, start the job.

    Args:
        session: of the client.
        path: of an image file; ``JobSource(job_id)``, to process the source of an earlier job again; or
            ``UrlSource("https://…")``, for a file that a worker fetches.
        pipeline: steps, as models or JSON objects.
        preset: name of a preset, such as ``avatar`` or ``avatar@3``, instead of a pipeline.
        parameters: of the preset.
        metadata: key-value pairs of your own.
        webhook_url: receives a webhook when the job succeeds, fails or is canceled.
        priority: of the job among your own queued jobs.
        source: how to read the file, such as ``SourceOptions(on_damage="accept")``.
        on_progress: called with the bytes sent and the total; with ``AsyncClient``, from another thread.

    Raises:
        InvalidRequestError: the request is not valid; nothing was sent.
        ApiError: the API rejected the request.
        TransferError: the file can't be read, or object storage rejected it.
        ConnectionFailedError: no response.
    """
    raw: dict[str, Any] = {
        "source": _declared(path) | (source.model_dump(exclude_defaults=True) if source else {}),
        "metadata": dict(metadata or {}),
    }
    if pipeline is not None:
        raw["pipeline"] = as_objects(pipeline)
    if preset is not None:
        raw["preset"] = preset
    if parameters:
        raw["parameters"] = dict(parameters)
    if webhook_url is not None:
        raw["webhook_url"] = webhook_url
    if priority != Priority.NORMAL:
        raw["priority"] = priority
    request = validated(CreateJobRequest, raw)
    created = yield from create_job(session, request)
    if isinstance(path, Path | str):
        yield from upload(session, created.upload, path, on_progress=on_progress)
    return (yield from start_job(session, created.job_id))


def process(
    session: Session,
    path: PhotoSource,
    pipeline: Steps | None = None,
    *,
    preset: str | None = None,
    parameters: Mapping[str, Scalar] | None = None,
    metadata: Mapping[str, str] | None = None,
    webhook_url: str | None = None,
    priority: Priority = Priority.NORMAL,
    source: SourceOptions | None = None,
    timeout: float | None = None,
    on_progress: Progress | None = None,
    on_change: Callable[[Job], None] | None = None,
) -> Operation[Job]:
    """``submit`` the source and ``wait`` for the job. ``timeout`` counts from the start of the job.

    Raises:
        InvalidRequestError: the request is not valid; nothing was sent.
        ApiError: the API rejected the request.
        TransferError: the file can't be read, or object storage rejected it.
        ConnectionFailedError: no response.
        JobFailedError: the job failed or was canceled.
        WaitTimeoutError: the job did not finish in time; it continues.
    """
    started = yield from submit(
        session,
        path,
        pipeline,
        preset=preset,
        parameters=parameters,
        metadata=metadata,
        webhook_url=webhook_url,
        priority=priority,
        source=source,
        on_progress=on_progress,
    )
    return (yield from wait(session, started.job_id, timeout=timeout, on_change=on_change))


def _path(job_id: UUID | str) -> str:
    return f"/v1/jobs/{UUID(str(job_id))}"


def _declared(path: PhotoSource) -> dict[str, Any]:
    return {**(declared_source(Path(path)) if isinstance(path, Path | str) else path.declared())}


def as_objects(pipeline: Steps) -> list[dict[str, Any]]:
    """Return the steps as JSON objects, with the fields that were set."""
    return [
        step.model_dump(by_alias=True, exclude_unset=True) if isinstance(step, BaseModel) else dict(step)
        for step in pipeline
    ]


def validated(model: type[M], raw: dict[str, Any], *, message: str = "The request is not valid") -> M:
    """Return the body of a request.

    Raises:
        InvalidRequestError: it is not valid.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        rows = error.errors(include_url=False, include_input=False)
        raise InvalidRequestError(message, field_errors(rows, raw, model)) from None
