"""What the API can be asked for, each operation told once for both clients. Does no I/O: it yields what is to be done.

Every POST carries an ``Idempotency-Key`` of its own, so that sent again it does, and answers, what it did at first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from pydantic import BaseModel, ValidationError

from pixelflow.client.calls import answered, post, refusal
from pixelflow.client.errors import InvalidRequestError, JobFailedError, WaitTimeoutError
from pixelflow.client.exchange import Flow, Operation, Request, Sleep
from pixelflow.client.retries import send
from pixelflow.client.session import Session
from pixelflow.client.transfers import Progress, declared_source, upload
from pixelflow.contracts.field_errors import field_errors
from pixelflow.contracts.jobs import FINISHED, CreatedJob, CreateJobRequest, Job, JobPage, JobStatus, StartedJob
from pixelflow.contracts.pipeline import Resize, Watermark

POLL_INTERVAL = 0.05
"""Seconds before the second look at a job; a small picture is done in less."""
POLL_GROWTH = 1.5
LONGEST_POLL_INTERVAL = 2.0
"""Seconds."""

_NOT_FOUND = 404

Steps = Sequence[Resize | Watermark | Mapping[str, Any]]
"""A pipeline: steps as models or as the plain dictionaries that JSON holds."""


def create_job(session: Session, request: CreateJobRequest) -> Operation[CreatedJob]:
    """Create a job; the answer says how to upload its source.

    Raises:
        ApiError: the API refused.
        ConnectionFailedError: no answer; the job may have been created, and does nothing unless it is started.
    """
    # Only what was set: an older API refuses fields that it does not know.
    body = request.model_dump_json(by_alias=True, exclude_unset=True).encode()
    response = yield from post(session, "/v1/jobs", body)
    return answered(response, CreatedJob)


def start_job(session: Session, job_id: UUID | str) -> Operation[StartedJob]:
    """Start a job whose source is uploaded. Idempotent.

    Raises:
        ApiError: the API refused; ``source_missing`` when there is no upload.
        ConnectionFailedError: no answer.
    """
    response = yield from post(session, f"{_path(job_id)}/start")
    return answered(response, StartedJob)


def cancel_job(session: Session, job_id: UUID | str) -> Operation[Job]:
    """Cancel a job, also while it is being transformed; returns it as it then stands. Idempotent.

    Raises:
        ApiError: the API refused; ``job_already_finished`` when the job succeeded or failed.
        ConnectionFailedError: no answer.
    """
    response = yield from post(session, f"{_path(job_id)}/cancel")
    return answered(response, Job)


def retry_job(session: Session, job_id: UUID | str) -> Operation[StartedJob]:
    """Run a failed or canceled job again, its attempts counted anew; nothing more while it is on its way.

    Raises:
        ApiError: the API refused; ``job_already_finished`` when the job succeeded, ``job_not_finished`` when it was
            never started.
        ConnectionFailedError: no answer.
    """
    response = yield from post(session, f"{_path(job_id)}/retry")
    return answered(response, StartedJob)


def erase_job(session: Session, job_id: UUID | str) -> Operation[None]:
    """Erase a job: it is gone at once, its source and outputs within seconds; what it was billed by stays.

    Raises:
        ApiError: the API refused; ``not_found`` also when the job was erased before.
        ConnectionFailedError: no answer.
    """
    response = yield from send(session, Request("DELETE", session.url(_path(job_id)), session.headers()))
    # After a try whose answer was lost, «not found» is what it did.
    if not response.succeeded and not (response.repeated and response.status == _NOT_FOUND):
        raise refusal(response)


def get_job(session: Session, job_id: UUID | str) -> Operation[Job]:
    """The job as it stands.

    Raises:
        ApiError: the API refused; ``not_found`` also for a job of somebody else.
        ConnectionFailedError: no answer.
    """
    job = yield from _look(session, job_id, deadline=None)
    return job


def list_jobs(
    session: Session, *, status: JobStatus | None = None, limit: int | None = None, cursor: str | None = None
) -> Operation[JobPage]:
    """One page of jobs, newest first; ``next_cursor`` of a page is the ``cursor`` of the next.

    Raises:
        ApiError: the API refused.
        ConnectionFailedError: no answer.
    """
    asked = {"status": status and status.value, "limit": limit, "cursor": cursor}
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    url = session.url("/v1/jobs" + (f"?{query}" if query else ""))
    response = yield from send(session, Request("GET", url, session.headers()))
    return answered(response, JobPage)


def iter_jobs(session: Session, *, status: JobStatus | None = None, page_size: int | None = None) -> Flow[Job]:
    """All jobs, newest first, a page fetched when it is needed.

    Raises:
        ApiError: the API refused.
        ConnectionFailedError: no answer.
    """
    cursor = None
    more = True

    def turn() -> Operation[list[Job]]:
        nonlocal cursor, more
        page = yield from list_jobs(session, status=status, limit=page_size, cursor=cursor)
        cursor = page.next_cursor
        more = cursor is not None
        return page.data

    while more:
        yield turn()


def wait(
    session: Session,
    job_id: UUID | str,
    *,
    timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    on_change: Callable[[Job], None] | None = None,
) -> Operation[Job]:
    """Look at the job, at growing intervals, until it succeeded.

    Args:
        session: of the client.
        job_id: of a job that was started.
        timeout: seconds; None waits as long as it takes.
        poll_interval: seconds before the second look; grows to 2 s.
        on_change: called with the job whenever its status or its attempt is another than at the last look.

    Raises:
        JobFailedError: it failed or was canceled.
        WaitTimeoutError: it was not over in time; it goes on.
        ApiError: the API refused.
        ConnectionFailedError: no answer.
    """
    deadline = None if timeout is None else session.clock() + timeout
    seen = None
    while True:
        job = yield from _look(session, job_id, deadline)
        if on_change and seen != (seen := (job.status, job.attempts)):
            on_change(job)
        if job.status in FINISHED:
            return _succeeded(job)
        if timeout is not None and deadline is not None and session.clock() >= deadline:
            raise WaitTimeoutError(job, timeout)
        yield Sleep(poll_interval if deadline is None else max(0.0, min(poll_interval, deadline - session.clock())))
        poll_interval = min(poll_interval * POLL_GROWTH, LONGEST_POLL_INTERVAL)


def submit(
    session: Session,
    path: Path | str,
    pipeline: Steps,
    *,
    metadata: Mapping[str, str] | None = None,
    webhook_url: str | None = None,
    on_progress: Progress | None = None,
) -> Operation[StartedJob]:
    """Create a job for the file at ``path``, upload the file, start the job.

    Args:
        session: of the client.
        path: of a picture.
        pipeline: steps, as models or plain dictionaries.
        metadata: your own words about the job.
        webhook_url: told when the job is over.
        on_progress: called with the bytes sent and their total; with ``AsyncClient``, from another thread.

    Raises:
        InvalidRequestError: the pipeline can't be right; nothing was sent.
        ApiError: the API refused.
        TransferError: the file can't be read, or object storage refused it.
        ConnectionFailedError: no answer.
    """
    request = _job_request(Path(path), pipeline, metadata, webhook_url)
    created = yield from create_job(session, request)
    yield from upload(session, created.upload, path, on_progress=on_progress)
    started = yield from start_job(session, created.job_id)
    return started


def process(
    session: Session,
    path: Path | str,
    pipeline: Steps,
    *,
    metadata: Mapping[str, str] | None = None,
    webhook_url: str | None = None,
    timeout: float | None = None,
    on_progress: Progress | None = None,
    on_change: Callable[[Job], None] | None = None,
) -> Operation[Job]:
    """``submit`` the file at ``path`` and ``wait`` for the job; ``timeout`` counts from the start of the job.

    Raises:
        InvalidRequestError: the pipeline can't be right; nothing was sent.
        ApiError: the API refused.
        TransferError: the file can't be read, or object storage refused it.
        ConnectionFailedError: no answer.
        JobFailedError: it failed or was canceled.
        WaitTimeoutError: it was not over in time; it goes on.
    """
    started = yield from submit(
        session, path, pipeline, metadata=metadata, webhook_url=webhook_url, on_progress=on_progress
    )
    job = yield from wait(session, started.job_id, timeout=timeout, on_change=on_change)
    return job


def _path(job_id: UUID | str) -> str:
    return f"/v1/jobs/{UUID(str(job_id))}"


def _look(session: Session, job_id: UUID | str, deadline: float | None) -> Operation[Job]:
    response = yield from send(
        session, Request("GET", session.url(_path(job_id)), session.headers()), deadline=deadline
    )
    return answered(response, Job)


def _succeeded(job: Job) -> Job:
    if job.status is not JobStatus.SUCCEEDED:
        raise JobFailedError(job)
    return job


def _job_request(
    path: Path, pipeline: Steps, metadata: Mapping[str, str] | None, webhook_url: str | None
) -> CreateJobRequest:
    steps = [
        step.model_dump(by_alias=True, exclude_unset=True) if isinstance(step, BaseModel) else dict(step)
        for step in pipeline
    ]
    raw: dict[str, Any] = {"source": declared_source(path), "pipeline": steps, "metadata": dict(metadata or {})}
    if webhook_url is not None:
        raw["webhook_url"] = webhook_url
    try:
        return CreateJobRequest.model_validate(raw)
    except ValidationError as error:
        raise InvalidRequestError(
            "The request is not valid", field_errors(error.errors(include_url=False), raw)
        ) from None
