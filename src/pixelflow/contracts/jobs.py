"""A job: its states and who moves it between them, what a client sends and what it gets back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from pixelflow.contracts.errors import FieldError
from pixelflow.contracts.pipeline import CROSS_FIELD_ERROR, Format, Pipeline, StepId


class JobStatus(StrEnum):
    """Where a job stands."""

    CREATED = "created"
    QUEUED = "queued"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    # The client starts it, or thinks better of it.
    JobStatus.CREATED: frozenset({JobStatus.QUEUED, JobStatus.CANCELED}),
    # A worker claims it.
    JobStatus.QUEUED: frozenset({JobStatus.PROCESSING, JobStatus.CANCELED}),
    # The worker finishes it or hands it back; the rescuer takes it from a worker whose lease ran out.
    JobStatus.PROCESSING: frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.QUEUED, JobStatus.CANCELED}),
    JobStatus.SUCCEEDED: frozenset(),
    # Its owner asks for another try.
    JobStatus.FAILED: frozenset({JobStatus.QUEUED}),
    JobStatus.CANCELED: frozenset({JobStatus.QUEUED}),
}
"""The state machine: from each status, the ones that may follow. Nothing else is ever written."""

FINISHED = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED})
"""Statuses of a job that is over."""


class SourceType(StrEnum):
    """Where a job's source comes from."""

    S3_PRESIGNED = "s3_presigned"
    LOCAL_FILE = "local_file"


# ── What a client sends ──────────────────────────────────────────────────────────────────────────

MAX_METADATA_KEYS = 32
_NO_NUL = r"^[^\x00]*$"
"""Postgres keeps no NUL in text."""
MediaType = Annotated[str, StringConstraints(pattern=r"^[a-z]+/[A-Za-z0-9.+-]{1,64}$", max_length=80)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DeclaredSource(_Request):
    """What the client says of the file that it will upload; signed into the upload URL."""

    content_length: Annotated[StrictInt | None, Field(ge=1, description="Bytes.", examples=[2483920])] = None
    content_type: Annotated[MediaType | None, Field(examples=["image/jpeg"])] = None


def _is_webhook_url(url: str) -> str:
    """Refuse what can be seen to be wrong; where the name leads is checked when it is connected to."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise PydanticCustomError("webhook_url", "is not a URL") from error
    if parts.scheme not in {"http", "https"} or not host:
        raise PydanticCustomError("webhook_url", "must be an http or https URL with a host")
    if parts.username is not None or parts.password is not None:
        raise PydanticCustomError("webhook_url", "must not hold a user name or password")
    if parts.fragment:
        raise PydanticCustomError("webhook_url", "must not hold a fragment")
    return url


WebhookUrl = Annotated[
    str,
    StringConstraints(max_length=2048, pattern=r"^[!-~]+$"),
    AfterValidator(_is_webhook_url),
    Field(examples=["https://client.example/hooks/pixel-done"]),
]
Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=_NO_NUL)],
        Annotated[str, StringConstraints(max_length=512, pattern=_NO_NUL)],
    ],
    Field(
        max_length=MAX_METADATA_KEYS,
        description="Your own words about the job; given back unread.",
        examples=[{"sku": "A-17"}],
    ),
]


class CreateJobRequest(_Request):
    """The body of ``POST /v1/jobs``."""

    source_type: SourceType = SourceType.S3_PRESIGNED
    source: DeclaredSource | None = None
    object_key: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=4096,
            pattern=_NO_NUL,
            description="Only for `local_file`: the absolute path of the source.",
        ),
    ] = None
    webhook_url: WebhookUrl | None = None
    metadata: Metadata = {}
    pipeline: Pipeline

    @model_validator(mode="after")
    def _fits_source_type(self) -> CreateJobRequest:
        for error in source_errors(self.model_dump(include={"source_type", "object_key"})):
            raise PydanticCustomError(CROSS_FIELD_ERROR, "{message}", {"message": error.message})
        return self


def source_errors(raw: Mapping[str, object]) -> list[FieldError]:
    """Whether the path of a source is there where it must be, and nowhere else."""
    path = raw.get("object_key")
    has_path = path is not None
    source_type = raw.get("source_type", SourceType.S3_PRESIGNED)
    if source_type == SourceType.LOCAL_FILE and not has_path:
        return [FieldError(pointer="/object_key", message="`local_file` needs it: the absolute path of the source")]
    if source_type == SourceType.LOCAL_FILE and isinstance(path, str) and path and not path.startswith("/"):
        return [FieldError(pointer="/object_key", message="must be an absolute path, such as /srv/photos/a.jpg")]
    if source_type == SourceType.S3_PRESIGNED and has_path:
        message = "is only for `local_file`; uploads get their key from PixelFlow"
        return [FieldError(pointer="/object_key", message=message)]
    return []


# ── What a client gets back ──────────────────────────────────────────────────────────────────────


class _Response(BaseModel):
    model_config = ConfigDict(frozen=True)


class Upload(_Response):
    """How to upload the source, straight to object storage."""

    object_key: str
    presigned_put_url: Annotated[str | None, Field(repr=False, description="Null where nothing is to be uploaded.")]
    presigned_url_state: Literal["ready", "not_required"]
    method: Literal["PUT"] = "PUT"
    headers: Annotated[
        dict[str, str], Field(description="To be sent with the upload exactly as given; they are signed.")
    ]
    expires_at: datetime | None
    max_bytes: int


class CreatedJob(_Response):
    """The answer to ``POST /v1/jobs``."""

    job_id: UUID
    status: Literal[JobStatus.CREATED] = JobStatus.CREATED
    upload: Upload
    start_url: str


class StartedJob(_Response):
    """The answer to ``POST /v1/jobs/{id}/start``."""

    job_id: UUID
    status: Literal[JobStatus.QUEUED, JobStatus.PROCESSING]
    queue: str
    task_id: UUID
    enqueued_at: datetime


class Source(_Response):
    """What is known of a job's source: what was declared, then what was found."""

    type: SourceType
    object_key: str
    bytes: int | None = None
    content_type: Annotated[str | None, Field(description="As declared.")] = None
    sha256: Annotated[str | None, Field(description="Hex; known once a worker has read the file.")] = None
    format: Annotated[str | None, Field(description="As found in the file.")] = None
    width: Annotated[int | None, Field(description="Pixels, the right way up.")] = None
    height: Annotated[int | None, Field(description="Pixels, the right way up.")] = None
    expired_at: Annotated[datetime | None, Field(description="Since when the file is gone; null: it is not.")] = None


class Output(_Response):
    """One file that a job made."""

    step_id: str
    action: str
    format: Format
    object_key: str
    bytes: int
    width: int
    height: int
    sha256: str
    download_url: Annotated[
        str | None, Field(repr=False, description="Presigned; null for files under a local root, and for expired ones.")
    ]
    expired_at: Annotated[datetime | None, Field(description="Since when the file is gone; null: it is not.")] = None


class JobFailure(_Response):
    """Why a job failed, or its last attempt."""

    code: str
    message: str
    step_id: StepId | None = None


class Usage(_Response):
    """What a job is billed by."""

    pixels_processed: Annotated[int, Field(description="Sum of width × height of the outputs.")]
    bytes_saved: Annotated[int, Field(description="Bytes of the source less those of all outputs, at least 0.")]
    compute_time_ms: Annotated[int, Field(description="CPU time of the transform, at least 1.")]


class Job(_Response):
    """A job as ``GET /v1/jobs/{id}`` tells it."""

    job_id: UUID
    status: JobStatus
    source: Source
    pipeline: Pipeline
    webhook_url: str | None
    metadata: dict[str, str]
    attempts: int
    max_attempts: int
    created_at: datetime
    queued_at: datetime | None
    started_at: Annotated[datetime | None, Field(description="Of the latest attempt.")]
    finished_at: datetime | None
    outputs: list[Output]
    error: JobFailure | None
    usage: Usage | None
    expires_at: Annotated[
        datetime | None,
        Field(
            description="When it is of no use any more, as it stands: erased because it was never started, its outputs "
            "gone, or its source, so that it can't be retried. Null: it is on its way, or kept for good."
        ),
    ] = None


class JobPage(_Response):
    """The answer to ``GET /v1/jobs``: newest first."""

    data: list[Job]
    next_cursor: Annotated[str | None, Field(description="Give it as `cursor` for the next page; null on the last.")]


class Problem(_Response):
    """The body of every error: ``application/problem+json`` (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: Annotated[str, Field(description="Stable; what a program should look at.")]
    request_id: str
    errors: list[FieldError] | None = None
