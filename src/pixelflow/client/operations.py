"""Operations on jobs, shared by both clients. Does no I/O: operations yield requests and sleeps.

Every POST is safe to retry: start and cancel have no further effect by themselves, and all others carry a new
``Idempotency-Key``, so that a retry has none and gets the first response.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, ValidationError

from pixelflow.client.api_calls import delete, get, job_path, parse, post, post_idempotent
from pixelflow.client.arguments import require, to_destination, to_mapping, to_seconds, to_steps
from pixelflow.client.errors import InvalidRequestError
from pixelflow.client.files import Content, file_of
from pixelflow.client.models import Operation
from pixelflow.client.session import Session
from pixelflow.client.sources import ExistingSource
from pixelflow.client.transfers import Progress, upload
from pixelflow.client.waiting import wait
from pixelflow.contracts.explanation import Explanation
from pixelflow.contracts.field_errors import field_errors
from pixelflow.contracts.jobs.destinations import Destination
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.responses import CreatedJob, Job, StartedJob
from pixelflow.contracts.jobs.states import JobStatus, Priority
from pixelflow.contracts.messages import QUEUE, task_id_of
from pixelflow.contracts.preset_templates import Scalar
from pixelflow.imaging.source_options import SourceOptions
from pixelflow.imaging.step import Step

M = TypeVar("M", bound=BaseModel)
Steps = Sequence[Step | Mapping[str, Any]]
"""A pipeline: steps as models or as JSON objects."""
MULTIPART_BYTES = 64 * 1024 * 1024
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
    response = yield from post_idempotent(session, f"{job_path(job_id)}/start")
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
    return parse((yield from post_idempotent(session, f"{job_path(job_id)}/cancel")), Job)


def retry_job(session: Session, job_id: UUID | str) -> Operation[StartedJob]:
    """Run a failed or canceled job again, with its attempts reset. Has no effect while the job is queued or processing.

    Raises:
        ApiError: the API rejected the request; ``job_already_finished`` if the job succeeded, ``job_not_finished`` if
            it was never started.
        ConnectionFailedError: no response.
    """
    return (yield from post(session, f"{job_path(job_id)}/retry", StartedJob))


def erase_job(session: Session, job_id: UUID | str) -> Operation[None]:
    """Delete a job at once, and its source and outputs within seconds. Its billed usage is kept.

    Raises:
        ApiError: the API rejected the request; ``not_found`` also if the job was already deleted.
        ConnectionFailedError: no response.
    """
    yield from delete(session, job_path(job_id))


def get_job(session: Session, job_id: UUID | str) -> Operation[Job]:
    """Return a job.

    Raises:
        ApiError: the API rejected the request; ``not_found`` also for a job of another user.
        ConnectionFailedError: no response.
    """
    return (yield from get(session, job_path(job_id), Job))


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
    multipart_bytes: int = MULTIPART_BYTES,
    on_progress: Progress | None = None,
) -> Operation[StartedJob]:
    """Create a job for a photo, upload the photo, start the job.

    Args:
        session: of the client.
        photo: path, bytes or open binary file of an image; or one that is not here: a ``JobSource``, ``UrlSource`` or
            ``BucketSource``.
        pipeline: steps, as models or JSON objects.
        preset: name of a preset, such as ``avatar`` or ``avatar@3``, instead of a pipeline.
        parameters: of the preset.
        metadata: key-value pairs of your own.
        webhook_url: receives a webhook when the job succeeds, fails or is canceled.
        priority: of the job among your own queued jobs.
        source: how to read the file, such as ``SourceOptions(on_damage="accept")``.
        destination: where the outputs are stored, besides the service's own bucket.
        idempotency_key: as for ``create_job``. A repeated call uploads what is missing of a file in parts.
        multipart_bytes: files with more bytes are uploaded in parts, of which each is retried by itself.
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
        multipart_bytes=multipart_bytes,
    )
    return (yield from _send(session, request, photo, idempotency_key, on_progress=on_progress))


def _send(
    session: Session,
    request: CreateJobRequest,
    photo: PhotoSource,
    idempotency_key: str | None,
    *,
    on_progress: Progress | None,
) -> Operation[StartedJob]:
    """Create the job, upload the photo unless it is there already, and start the job."""
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
    multipart_bytes: int = MULTIPART_BYTES,
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
        "destination": to_destination(destination),
    }
    raw = {
        "source": _declared(photo, multipart_bytes) | (_options(source) if source is not None else {}),
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
    multipart_bytes: int = MULTIPART_BYTES,
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
        multipart_bytes=multipart_bytes,
        on_progress=on_progress,
    )
    return (yield from wait(session, started.job_id, timeout=timeout, on_change=on_change))


def _declared(photo: PhotoSource, multipart_bytes: int) -> dict[str, Any]:
    if isinstance(photo, ExistingSource):
        return {**photo.declared()}
    file = file_of(photo)
    return {**file.declared, **({"multipart": True} if file.size > multipart_bytes else {})}


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
