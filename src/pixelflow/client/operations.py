"""Operations on jobs, shared by both clients. Does no I/O: operations yield requests and sleeps.

Every POST is safe to retry: start and cancel have no further effect by themselves, and all others carry a new
``Idempotency-Key``, so that a retry has none and gets the first response.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, ValidationError

from pixelflow.client.api_calls import delete, get, parse, post, post_idempotent
from pixelflow.client.arguments import require, to_mapping, to_object, to_seconds, to_steps, to_uuid
from pixelflow.client.errors import ApiError, InvalidRequestError, JobFailedError, WaitTimeoutError
from pixelflow.client.files import Content, file_of
from pixelflow.client.models import Operation, Sleep
from pixelflow.client.session import Session
from pixelflow.client.sources import ExistingSource
from pixelflow.client.transfers import Progress, upload
from pixelflow.contracts.explanation import Explanation
from pixelflow.contracts.field_errors import field_errors
from pixelflow.contracts.jobs.destinations import Destination
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.responses import CreatedJob, Job, StartedJob
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

_DESTINATION = '{"bucket": "public", "key": "{step}-{sha256}.{ext}"}'
LONG_POLL_SECONDS = 20.0
"""Longest time that one request waits for the end of a job: less than the timeout of the clients."""

M = TypeVar("M", bound=BaseModel)
Steps = Sequence[Step | Mapping[str, Any]]
"""A pipeline: steps as models or as JSON objects."""
PhotoSource = Content | ExistingSource
"""What to upload: the path of a file, bytes or an open binary file. Or a source that is there already."""


def create_job(
    session: Session, request: CreateJobRequest, *, idempotency_key: str | None = None
) -> Operation[CreatedJob]:
    """Create a job and return how to upload its source.

    Args:
        session: of the client.
        request: the job.
        idempotency_key: of your own, such as the ID of the photo in your database. The same request with the same key
            returns the same job for 24 hours, also from another process. Default: a new one.

    Raises:
        ApiError: the API rejected the request.
        ConnectionFailedError: no response. The job may exist; it does not run unless it is started.
    """
    require(request, CreateJobRequest, "request", "a CreateJobRequest; CreateJobRequest.model_validate() makes one")
    # Only fields that were set: an older API rejects fields that it does not know.
    body = request.model_dump_json(by_alias=True, exclude_unset=True).encode()
    return (yield from post(session, "/v1/jobs", CreatedJob, body, idempotency_key=idempotency_key))


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
    request = validated(CreateJobRequest, {"source": source, "pipeline": to_steps(pipeline)})
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
        started = yield from _earlier_start(session, job_id)
        if started is not None:
            return started
    return parse(response, StartedJob)


def _earlier_start(session: Session, job_id: UUID | str) -> Operation[StartedJob | None]:
    job = yield from get_job(session, job_id)
    if job.queued_at is None:
        return None
    task_id = task_id_of(job.job_id, run=1)
    return StartedJob(
        job_id=job.job_id, status=JobStatus.QUEUED, queue=QUEUE, task_id=task_id, enqueued_at=job.queued_at
    )


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


def wait(
    session: Session,
    job_id: UUID | str,
    *,
    timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    on_change: Callable[[Job], None] | None = None,
) -> Operation[Job]:
    """Wait until a job succeeds, and return it.

    The API responds when the job has finished. If it can't, because it is older or serves too many such requests, the
    job is polled at growing intervals.
    A status that this version does not know counts as not finished while ``finished_at`` is not set.

    Args:
        session: of the client.
        job_id: ID of a started job.
        timeout: seconds; None waits without a limit.
        poll_interval: seconds between the first looks at the job with ``on_change``; grows to 2 s.
        on_change: called with the job whenever its status or its number of attempts has changed at a look.

    Raises:
        JobFailedError: the job failed or was canceled, or it has finished with an unknown status.
        WaitTimeoutError: the job did not finish in time; it continues.
        ApiError: the API rejected the request.
        ConnectionFailedError: no response.
    """
    timeout = to_seconds(timeout, "timeout")
    deadline = None if timeout is None else session.clock() + timeout
    looks = _Looks(session, job_id, deadline)
    last = None
    seconds, looked = 0.0 if on_change else LONG_POLL_SECONDS, False
    while True:
        job = yield from looks.look(seconds, pause=poll_interval)
        if on_change and last != (last := (job.status, job.attempts)):
            on_change(job)
        if job.status == JobStatus.SUCCEEDED:
            return job
        if _has_ended(job):
            raise JobFailedError(job)
        if timeout is not None and looks.left() <= 0:
            raise WaitTimeoutError(job, timeout)
        if on_change:
            seconds = poll_interval
        if looked:
            poll_interval = min(poll_interval * POLL_GROWTH, MAX_POLL_INTERVAL)
        looked = True


class _Looks:
    """Looks at a job until it has finished."""

    def __init__(self, session: Session, job_id: UUID | str, deadline: float | None) -> None:
        self._session = session
        self._path = _path(job_id)
        self._deadline = deadline
        self._may_wait = True
        self._must_pause = False

    def left(self) -> float:
        """Seconds until the deadline."""
        return math.inf if self._deadline is None else self._deadline - self._session.clock()

    def look(self, seconds: float, *, pause: float) -> Operation[Job]:
        """Return the job: when it has finished, at most ``seconds`` later; after ``pause`` if the API does not wait."""
        if self._must_pause:
            yield Sleep(max(0.0, min(pause, self.left())))
        wait_seconds, began = round(max(0.0, min(seconds, self.left())), 3), self._session.clock()
        if self._may_wait and wait_seconds:
            try:
                job = yield from self._get({"wait": f"{wait_seconds:g}"})
            except ApiError as error:
                if not _is_without_wait(error):
                    raise
                self._may_wait = False
            else:
                self._must_pause = self._session.clock() - began < wait_seconds / 2  # it did not wait
                return job
        self._must_pause = not self._may_wait
        return (yield from self._get({}))

    def _get(self, query: Mapping[str, object]) -> Operation[Job]:
        return (
            yield from get(
                self._session, self._path, Job, query=query, deadline=self._deadline, final={"too_many_streams"}
            )
        )


def _is_without_wait(error: ApiError) -> bool:
    """Whether the API does not know the parameter `wait`, or has no place for a request that waits."""
    is_unknown = any(each.pointer == "/query/wait" for each in error.errors)
    return is_unknown or error.code == "too_many_streams"


def _has_ended(job: Job) -> bool:
    is_known = isinstance(job.status, JobStatus)
    return job.status in FINISHED if is_known else job.finished_at is not None


def submit(
    session: Session,
    photo: PhotoSource,
    pipeline: Steps | None = None,
    *,
    preset: str | None = None,
    parameters: Mapping[str, Scalar] | None = None,
    metadata: Mapping[str, str] | None = None,
    webhook_url: str | None = None,
    priority: Priority = Priority.NORMAL,
    source: SourceOptions | None = None,
    destination: Destination | Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
    on_progress: Progress | None = None,
) -> Operation[StartedJob]:
    """Create a job for a photo, upload the photo, start the job.

    Args:
        session: of the client.
        photo: path, bytes or open binary file of an image; ``JobSource(job_id)``, to process the source of an earlier
            job again; or ``UrlSource("https://…")``, for a file that a worker fetches.
        pipeline: steps, as models or JSON objects.
        preset: name of a preset, such as ``avatar`` or ``avatar@3``, instead of a pipeline.
        parameters: of the preset.
        metadata: key-value pairs of your own.
        webhook_url: receives a webhook when the job succeeds, fails or is canceled.
        priority: of the job among your own queued jobs.
        source: how to read the file, such as ``SourceOptions(on_damage="accept")``.
        destination: where the outputs are stored, besides the service's own bucket.
        idempotency_key: as for ``create_job``.
        on_progress: called with the bytes sent and the total; with ``AsyncClient``, from another thread.

    Raises:
        InvalidRequestError: the request is not valid; nothing was sent.
        ApiError: the API rejected the request.
        TransferError: the file can't be read, or object storage rejected it.
        ConnectionFailedError: no response.
    """
    request = job_request(
        photo,
        pipeline,
        preset=preset,
        parameters=parameters,
        metadata=metadata,
        webhook_url=webhook_url,
        priority=priority,
        source=source,
        destination=destination,
    )
    created = yield from create_job(session, request, idempotency_key=idempotency_key)
    if idempotency_key is not None:
        # An earlier call with the same key may have uploaded the photo.
        started = yield from _earlier_start(session, created.job_id)
        if started is not None:
            return started
    if not isinstance(photo, ExistingSource):
        yield from upload(session, created.upload, photo, on_progress=on_progress)
    return (yield from start_job(session, created.job_id))


def job_request(
    photo: PhotoSource,
    pipeline: Steps | None = None,
    *,
    preset: str | None = None,
    parameters: Mapping[str, Scalar] | None = None,
    metadata: Mapping[str, str] | None = None,
    webhook_url: str | None = None,
    priority: Priority = Priority.NORMAL,
    source: SourceOptions | None = None,
    destination: Destination | Mapping[str, Any] | None = None,
) -> CreateJobRequest:
    """Return the request that creates a job for a photo, with the arguments of ``submit``.

    Raises:
        InvalidRequestError: the request is not valid.
        TransferError: the file can't be read.
    """
    optional: dict[str, Any] = {
        "pipeline": None if pipeline is None else to_steps(pipeline),
        "preset": preset,
        "parameters": to_mapping(parameters, "parameters", '{"size": 200}') if parameters else None,
        "webhook_url": webhook_url,
        "priority": None if priority == Priority.NORMAL else priority,
        "destination": None if destination is None else to_object(destination, "destination", _DESTINATION),
    }
    raw = {
        "source": _declared(photo) | (_options(source) if source is not None else {}),
        "metadata": to_mapping(metadata or {}, "metadata", '{"sku": "A-17"}'),
        **{name: value for name, value in optional.items() if value is not None},
    }
    return validated(CreateJobRequest, raw)


def process(
    session: Session,
    photo: PhotoSource,
    pipeline: Steps | None = None,
    *,
    preset: str | None = None,
    parameters: Mapping[str, Scalar] | None = None,
    metadata: Mapping[str, str] | None = None,
    webhook_url: str | None = None,
    priority: Priority = Priority.NORMAL,
    source: SourceOptions | None = None,
    destination: Destination | Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
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
    to_seconds(timeout, "timeout")  # before anything is sent
    started = yield from submit(
        session,
        photo,
        pipeline,
        preset=preset,
        parameters=parameters,
        metadata=metadata,
        webhook_url=webhook_url,
        priority=priority,
        source=source,
        destination=destination,
        idempotency_key=idempotency_key,
        on_progress=on_progress,
    )
    return (yield from wait(session, started.job_id, timeout=timeout, on_change=on_change))


def _path(job_id: UUID | str) -> str:
    return f"/v1/jobs/{to_uuid(job_id, 'job_id')}"


def _declared(photo: PhotoSource) -> dict[str, Any]:
    return {**(photo.declared() if isinstance(photo, ExistingSource) else file_of(photo).declared)}


def _options(source: SourceOptions) -> dict[str, Any]:
    given = require(source, SourceOptions, "source", "a SourceOptions, such as SourceOptions(frame=0)")
    return given.model_dump(exclude_defaults=True)


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
