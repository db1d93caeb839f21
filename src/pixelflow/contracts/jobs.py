"""Jobs: their state machine, the requests that create them and the responses that describe them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    StrictInt,
    StringConstraints,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pixelflow.contracts.capabilities import required_capabilities
from pixelflow.contracts.responses import JobWarning, Open, ResponseModel
from pixelflow.contracts.uploads import SHA256_PATTERN, MediaType, Upload
from pixelflow.cross_field import CrossFieldError, fields_of, validate
from pixelflow.errors import TargetRefusedError
from pixelflow.imaging.pipeline import Pipeline
from pixelflow.imaging.source_options import SourceOptions
from pixelflow.imaging.step import SOURCE


class JobStatus(StrEnum):
    """The status of a job."""

    CREATED = "created"
    QUEUED = "queued"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    # The client starts or cancels it.
    JobStatus.CREATED: frozenset({JobStatus.QUEUED, JobStatus.CANCELED}),
    # A worker claims it.
    JobStatus.QUEUED: frozenset({JobStatus.PROCESSING, JobStatus.CANCELED}),
    # The worker finishes or releases it; the lease reaper requeues it when the worker's lease expires.
    JobStatus.PROCESSING: frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.QUEUED, JobStatus.CANCELED}),
    JobStatus.SUCCEEDED: frozenset(),
    # Its owner retries it.
    JobStatus.FAILED: frozenset({JobStatus.QUEUED}),
    JobStatus.CANCELED: frozenset({JobStatus.QUEUED}),
}
"""The state machine: for each status, the statuses that may follow. No other transition is ever written."""

FINISHED = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED})
"""Final statuses."""


class SourceType(StrEnum):
    """How a job gets its source."""

    S3_PRESIGNED = "s3_presigned"
    LOCAL_FILE = "local_file"


class Priority(StrEnum):
    """The priority of a job among the jobs of its user."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


PRIORITY_RANKS: dict[Priority, int] = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}
"""As the database stores them: the lowest rank is processed first."""


# ── Requests ─────────────────────────────────────────────────────────────────────────────────────

MAX_METADATA_KEYS = 32
MAX_SIDE = 1_000_000
"""Pixels of a declared side."""
MAX_FRAMES = 100_000
NO_NUL_PATTERN = r"^[^\x00]*$"
"""Postgres can't store NUL in text."""
WEBHOOK_URL_PATTERN = r"^[!-~]+$"


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Validation context of ``CreateJobRequest``: the limits that the operator sets.

    They are part of validation, so that their errors are reported together with all others, and before the request
    uses up its ``Idempotency-Key``.
    """

    max_source_bytes: int
    check_webhook_url: Callable[[str], object]
    """Raises ``TargetRefusedError`` for a URL that is not allowed."""


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _within_limit(content_length: int | None, info: ValidationInfo) -> int | None:
    limits = info.context
    if isinstance(limits, RequestLimits) and (content_length or 0) > limits.max_source_bytes:
        raise PydanticCustomError("source_too_large", f"must be at most {limits.max_source_bytes} bytes")
    return content_length


class DeclaredSource(SourceOptions):
    """Properties of the file to upload, of which the first three are signed into the upload URL; and how to read it."""

    content_length: Annotated[
        StrictInt | None,
        Field(
            ge=1,
            description="Size of the file in bytes. Required for an upload, unless the operator made it optional.",
            examples=[2483920],
        ),
        AfterValidator(_within_limit),
    ] = None
    content_type: Annotated[MediaType | None, Field(description="Media type of the file.", examples=["image/jpeg"])] = (
        None
    )
    sha256: Annotated[
        str | None,
        Field(
            pattern=SHA256_PATTERN,
            description="SHA-256 of the file, as 64 lower-case hexadecimal digits. A file with another one is not "
            "processed.",
        ),
    ] = None
    width: Annotated[
        StrictInt | None, Field(ge=1, le=MAX_SIDE, description="Width in pixels, upright. Only for `dry_run`.")
    ] = None
    height: Annotated[
        StrictInt | None, Field(ge=1, le=MAX_SIDE, description="Height in pixels, upright. Only for `dry_run`.")
    ] = None
    frames: Annotated[
        StrictInt | None, Field(ge=1, le=MAX_FRAMES, description="Frames of an animation. Only for `dry_run`.")
    ] = None


def _is_webhook_url(url: str) -> str:
    """Check the syntax. The addresses that the host resolves to are checked on each connection."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise PydanticCustomError("webhook_url", "must be a valid URL") from error
    if parts.scheme not in {"http", "https"} or not host:
        raise PydanticCustomError("webhook_url", "must be an http or https URL such as https://client.example/hooks")
    if parts.username is not None or parts.password is not None:
        raise PydanticCustomError("webhook_url", "must not contain a user name or password")
    if parts.fragment:
        raise PydanticCustomError("webhook_url", "must not contain a fragment")
    return url


def _is_allowed_target(url: str, info: ValidationInfo) -> str:
    if isinstance(info.context, RequestLimits):
        try:
            info.context.check_webhook_url(url)
        except TargetRefusedError as error:
            raise PydanticCustomError(error.code, error.detail) from error
    return url


WebhookUrl = Annotated[
    str,
    StringConstraints(max_length=2048, pattern=WEBHOOK_URL_PATTERN),
    AfterValidator(_is_webhook_url),
    AfterValidator(_is_allowed_target),
    Field(examples=["https://client.example/hooks/pixel-done"]),
]
Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=NO_NUL_PATTERN)],
        Annotated[str, StringConstraints(max_length=512, pattern=NO_NUL_PATTERN)],
    ],
    Field(
        max_length=MAX_METADATA_KEYS,
        description="Key-value pairs of your own. PixelFlow stores and returns them and does not interpret them.",
        examples=[{"sku": "A-17"}],
    ),
]


class CreateJobRequest(_Request):
    """The body of ``POST /v1/jobs``."""

    source_type: Annotated[
        SourceType,
        Field(description="`s3_presigned`: you upload the source. `local_file`: the worker reads `object_key`."),
    ] = SourceType.S3_PRESIGNED
    source: DeclaredSource | None = None
    object_key: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=4096,
            pattern=NO_NUL_PATTERN,
            description="Absolute path of the source. Only for `local_file`, which requires it.",
        ),
    ] = None
    webhook_url: Annotated[
        WebhookUrl | None, Field(description="URL that receives a webhook when the job succeeds, fails or is canceled.")
    ] = None
    metadata: Metadata = {}
    priority: Annotated[
        Priority,
        Field(description="Order among your own queued jobs. Your share beside other users does not depend on it."),
    ] = Priority.NORMAL
    pipeline: Pipeline

    @property
    def requires(self) -> tuple[str, ...]:
        """What a worker must be capable of to process the job."""
        source = self.source
        return required_capabilities(self.pipeline, source, content_type=source.content_type if source else None)

    @model_validator(mode="wrap")
    @classmethod
    def _check_source(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401 - any input
        return validate(value, handler, _source_errors)


def _source_errors(request: object) -> Iterator[CrossFieldError]:
    fields = fields_of(request) or {}
    source_type, path = fields.get("source_type", SourceType.S3_PRESIGNED), fields.get("object_key")
    if source_type == SourceType.LOCAL_FILE:
        if path is None:
            yield ("object_key",), "is required for `local_file`: the absolute path of the source"
        elif isinstance(path, str) and path and not path.startswith("/"):
            yield ("object_key",), "must be an absolute path, such as /srv/photos/a.jpg"
    elif source_type == SourceType.S3_PRESIGNED and path is not None:
        yield ("object_key",), "is only for `local_file`; PixelFlow assigns the object key of an upload"


# ── Responses ────────────────────────────────────────────────────────────────────────────────────


class CreatedJob(ResponseModel):
    """The response to ``POST /v1/jobs``."""

    job_id: UUID
    status: Open[JobStatus] = JobStatus.CREATED
    upload: Upload
    start_url: Annotated[str, Field(description="Path to POST to once the source is uploaded.")]


class StartedJob(ResponseModel):
    """The response to ``POST /v1/jobs/{id}/start``."""

    job_id: UUID
    status: Open[JobStatus]
    queue: str
    task_id: UUID
    enqueued_at: datetime


class Source(ResponseModel):
    """The source of a job: the declared properties, and those that the worker measured."""

    type: Open[SourceType]
    object_key: str
    bytes: Annotated[int | None, Field(description="Size in bytes.")] = None
    content_type: Annotated[str | None, Field(description="Declared media type.")] = None
    sha256: Annotated[
        str | None, Field(description="SHA-256 of the file, in hex. Null until a worker has read the file.")
    ] = None
    format: Annotated[str | None, Field(description="Format detected in the file.", examples=["jpeg"])] = None
    width: Annotated[int | None, Field(description="Width in pixels, in display orientation.")] = None
    height: Annotated[int | None, Field(description="Height in pixels, in display orientation.")] = None
    frames: Annotated[int | None, Field(description="Frames or pages in the file.")] = None
    options: dict[str, Any] = Field(default_factory=dict, repr=False, description="How to read the file.")
    expired_at: Annotated[datetime | None, Field(description="When the file was deleted. Null while it exists.")] = None


_EXTENSION = re.compile(r"\.([a-z0-9]{1,8})\Z")


class Output(ResponseModel):
    """One output file of a job."""

    step_id: str
    action: str
    format: Annotated[str, Field(description="Format of the file.", examples=["webp"])]
    object_key: str
    bytes: Annotated[int, Field(description="Size in bytes.")]
    width: Annotated[int | None, Field(description="Width in pixels. Null for an output that is not an image.")] = None
    height: Annotated[int | None, Field(description="Height in pixels. Null for an output that is not an image.")] = (
        None
    )
    sha256: Annotated[str, Field(description="SHA-256 of the file, in hex.")]
    download_url: Annotated[
        str | None,
        Field(
            repr=False,
            description="Presigned download URL. Null for a file under a local root and for an expired one.",
        ),
    ]
    expired_at: Annotated[datetime | None, Field(description="When the file was deleted. Null while it exists.")] = None

    @property
    def extension(self) -> str:
        """The file name extension of the output, without the dot: at most eight letters and digits."""
        found = _EXTENSION.search(self.object_key)
        return found[1] if found else "bin"


class JobFailure(ResponseModel):
    """Why a job, or its latest attempt, failed."""

    code: Annotated[str, Field(description="Stable error code.")]
    message: str
    step_id: Annotated[str | None, Field(description="The step that failed, if a step did.")] = None


class Usage(ResponseModel):
    """The usage that a job is billed for."""

    pixels_processed: Annotated[int, Field(description="Sum of width × height over all outputs.")]
    bytes_saved: Annotated[int, Field(description="Bytes of the source minus the bytes of all outputs, at least 0.")]
    compute_time_ms: Annotated[int, Field(description="CPU time of the transform in milliseconds, at least 1.")]


class JobStep(ResponseModel):
    """A step of a job's pipeline in its normal form: colors are ``#rrggbb``, and ``jpg`` is ``jpeg``.

    ``model_extra`` has the other fields of its action.
    """

    id: str
    action: Annotated[str, Field(examples=["resize"])]
    from_: Annotated[str, Field(alias="from", description="Input of the step: `source`, or the id of a step.")] = SOURCE
    output: Annotated[bool, Field(description="Whether the job returns the output.")] = True
    format: Annotated[
        str | None, Field(description="Format of the output. Default: the format of the step's input.")
    ] = None


class Job(ResponseModel):
    """The response to ``GET /v1/jobs/{id}``."""

    job_id: UUID
    status: Open[JobStatus]
    source: Source
    pipeline: Annotated[list[JobStep], Field(description="The steps, with the fields that the client set.")]
    webhook_url: str | None
    metadata: dict[str, str]
    priority: Annotated[Open[Priority], Field(description="Order among the user's queued jobs.")] = Priority.NORMAL
    waiting_for: Annotated[
        list[str] | None,
        Field(
            description="Capabilities that the job requires and no live worker has; the job waits for such a worker. "
            "Null if a worker can process it, or if it is not queued."
        ),
    ] = None
    attempts: Annotated[int, Field(description="Attempts in the current run. A retry resets it to 0.")]
    max_attempts: Annotated[int, Field(description="Largest number of attempts in one run.")]
    created_at: datetime
    queued_at: datetime | None
    started_at: Annotated[datetime | None, Field(description="When the latest attempt started.")]
    finished_at: datetime | None
    outputs: list[Output]
    error: JobFailure | None
    warnings: list[JobWarning] = Field(default_factory=list, description="What to know of a job that succeeded.")
    usage: Usage | None
    expires_at: Annotated[
        datetime | None,
        Field(
            description="When the job's files, or an unstarted job, will be deleted. Null while the job is queued or "
            "processing, and if nothing is scheduled for deletion."
        ),
    ] = None


class JobPage(ResponseModel):
    """The response to ``GET /v1/jobs``, newest first."""

    data: list[Job]
    next_cursor: Annotated[str | None, Field(description="Value of `cursor` for the next page. Null on the last page.")]
