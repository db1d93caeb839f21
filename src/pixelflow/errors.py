"""The errors of PixelFlow, as one tree with stable codes.

    PixelflowError
    ├── RequestError            the API rejects the request
    ├── JobError                an attempt failed; stored with the job and shown to its owner
    │   ├── SourceError         the source can't be used: permanent
    │   └── TransformError      the transform of a valid source failed
    ├── TargetError             a request to a webhook receiver failed
    └── DependencyError         a backing service is unavailable: retryable

This module must not know HTTP statuses: ``controlplane.api.problems`` maps them.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field


class FieldError(BaseModel):
    """One invalid field of a request."""

    model_config = ConfigDict(frozen=True)

    pointer: Annotated[
        str, Field(description="JSON Pointer (RFC 6901) to the invalid value.", examples=["/pipeline/0/width"])
    ]
    message: Annotated[str, Field(description="What is wrong and what to change.")]


class Fault(Enum):
    """What is at fault when an attempt fails; it decides whether the attempt counts."""

    JOB = "job"
    """The source or the job: it fails at the first attempt, since every other attempt would fail too."""
    CHILD = "child"
    """The process that transformed it died: the attempt counts, and the job has ``max_attempts``."""
    SERVICE = "service"
    """The worker or a backing service: the attempt does not count, and the job waits until it works."""


class PixelflowError(Exception):
    """Root of the tree. ``str(error)`` may be sent to the client: it contains no secret and no internal host name."""

    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"
    retryable: ClassVar[bool] = False
    fault: ClassVar[Fault] = Fault.JOB

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


# ── Requests ─────────────────────────────────────────────────────────────────────────────────────


class RequestError(PixelflowError):
    """The API rejects the request."""


class ValidationFailedError(RequestError):
    code = "validation_failed"
    title = "The request is not valid"

    def __init__(self, detail: str, errors: Sequence[FieldError]) -> None:
        super().__init__(detail)
        self.errors = tuple(errors)


class MalformedRequestError(RequestError):
    code = "malformed_request"
    title = "The request body is not valid JSON"


class BodyTooLargeError(RequestError):
    code = "body_too_large"
    title = "The request body is too large"


class InvalidHttpError(RequestError):
    code = "invalid_http"
    title = "The request is not valid HTTP"


class HeadersTooLargeError(RequestError):
    code = "headers_too_large"
    title = "The request headers are too large"


class RequestTimeoutError(RequestError):
    """The client sent the request too slowly. It had no effect."""

    code = "request_timeout"
    title = "The request did not arrive in time"
    retryable = True


class TooManyConnectionsError(RequestError):
    code = "too_many_connections"
    title = "Too many connections"
    retryable = True


class OverloadedError(PixelflowError):
    """The server has no connection left."""

    code = "overloaded"
    title = "The server is overloaded"
    retryable = True


class UnsupportedMediaTypeError(RequestError):
    code = "unsupported_media_type"
    title = "The request body must be JSON"


class UnauthenticatedError(RequestError):
    code = "unauthenticated"
    title = "A valid API key or token is required"


class InsufficientScopeError(RequestError):
    code = "insufficient_scope"
    title = "The API key or token lacks a required scope"

    def __init__(self, scopes: Sequence[str]) -> None:
        noun = "scope" if len(scopes) == 1 else "scopes"
        super().__init__(f"This request requires the {noun} {' and '.join(f'`{scope}`' for scope in scopes)}")
        self.scopes = tuple(scopes)


class RateLimitedError(RequestError):
    """The request had no effect. ``retry_after`` is in seconds."""

    code = "rate_limited"
    title = "Too many requests"

    def __init__(self, detail: str, *, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class TooManyKeysError(RequestError):
    code = "too_many_keys"
    title = "The limit of API keys is reached"


class AssetExistsError(RequestError):
    code = "asset_exists"
    title = "An asset with this name exists"


class TooManyAssetsError(RequestError):
    code = "too_many_assets"
    title = "The limit of assets is reached"


class IdempotencyKeyInvalidError(RequestError):
    code = "idempotency_key_invalid"
    title = "The Idempotency-Key is not valid"


class IdempotencyKeyReusedError(RequestError):
    code = "idempotency_key_reused"
    title = "The Idempotency-Key was used for a different request"


class IdempotencyAnswerLostError(RequestError):
    code = "idempotency_answer_lost"
    title = "The stored response to this Idempotency-Key can't be read"


class IdempotencyInProgressError(RequestError):
    code = "idempotency_in_progress"
    title = "A request with this Idempotency-Key is still in progress"


class NotFoundError(RequestError):
    code = "not_found"
    title = "Not found"


class MethodNotAllowedError(RequestError):
    code = "method_not_allowed"
    title = "Method not allowed"


class JobAlreadyFinishedError(RequestError):
    code = "job_already_finished"
    title = "The job is already finished"


class JobNotFinishedError(RequestError):
    code = "job_not_finished"
    title = "The job is not finished"


class SourceMissingError(RequestError):
    code = "source_missing"
    title = "The source has not been uploaded"


class SourceTooLargeError(RequestError):
    code = "source_too_large"
    title = "The source is too large"


class TooManyUploadsError(RequestError):
    code = "too_many_uploads"
    title = "The limit of pending uploads is reached"


class UnsupportedCapabilityError(RequestError):
    code = "unsupported_capability"
    title = "No worker of this installation can process the job"


class LocalFilesDisabledError(RequestError):
    code = "local_files_disabled"
    title = "Local files are not enabled for this path"


# ── Attempts ─────────────────────────────────────────────────────────────────────────────────────


class JobError(PixelflowError):
    """An attempt failed. ``step_id`` is the step that failed, if a step did."""

    def __init__(self, detail: str, *, step_id: str | None = None) -> None:
        super().__init__(detail)
        self.step_id = step_id
        self.compute_time_ms: int | None = None
        """Processor time of the transform in milliseconds, if it was measured."""


class SourceError(JobError):
    """The source can't be used. Permanent."""


class SourceGoneError(SourceError):
    code = "source_gone"
    title = "The source no longer exists"


class SourceChangedError(SourceError):
    code = "source_changed"
    title = "The source is not the one that the job was started with"


class SourceOverLimitError(SourceError):
    code = "source_too_large"
    title = "The source exceeds the size limit"


class UnsupportedFormatError(SourceError):
    code = "unsupported_format"
    title = "The source is not an image in a supported format"


class UndecodableError(SourceError):
    code = "undecodable"
    title = "The source is corrupt or truncated"


class TooManyPixelsError(SourceError):
    code = "too_many_pixels"
    title = "The source exceeds the pixel limit"


class TooManyScansError(SourceError):
    code = "too_many_scans"
    title = "The progressive source exceeds the limit of scans"


class AssetGoneError(SourceError):
    code = "asset_gone"
    title = "An asset of the job no longer exists"


class TransformError(JobError):
    """The transform of a valid source failed."""


class OutputTooLargeError(TransformError):
    code = "output_too_large"
    title = "The output of a step would exceed a size limit"


class StepFailedError(TransformError):
    code = "step_failed"
    title = "A step can't be applied to this image"


class TransformTimeoutError(TransformError):
    code = "transform_timeout"
    title = "The transform exceeded the time limit"


class OutOfMemoryError(TransformError):
    """Not retryable: the next attempt would have the same limit."""

    code = "out_of_memory"
    title = "The transform exceeded the memory limit"


class TransformCrashedError(TransformError):
    code = "transform_crashed"
    title = "The transform process crashed"
    retryable = True
    fault = Fault.CHILD

    def __init__(self, detail: str, *, step_id: str | None = None, signal: str | None = None) -> None:
        super().__init__(detail, step_id=step_id)
        self.signal = signal
        """Name of the signal by which native code crashed, such as ``SIGSEGV``; ``None`` if the process ended else."""


class DecoderCrashedError(TransformError):
    """The last attempt of a job crashed native code: a decoder on this source, most likely. Another run is no use."""

    code = "decoder_crashed"
    title = "The source crashes the code that decodes it"


class TransformPostponedError(TransformError):
    """The user's images crashed too many children. The job must not run again within ``retry_after_seconds``."""

    code = "transform_postponed"
    title = "The user's images crash the transform process too often"
    retryable = True
    fault = Fault.SERVICE

    def __init__(self, detail: str, *, retry_after_seconds: float) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class AttemptsExhaustedError(JobError):
    code = "attempts_exhausted"
    title = "The job has no attempts left"


class ServiceUnavailableError(JobError):
    """A backing service or the workers' machines failed for longer than a job may wait."""

    code = "service_unavailable"
    title = "The service was unavailable for too long"


# ── Webhook receivers ────────────────────────────────────────────────────────────────────────────


class TargetError(PixelflowError):
    """A request to a webhook receiver failed. The message must not contain resolved addresses."""


class TargetRefusedError(TargetError):
    code = "target_refused"
    title = "Requests to this address are not allowed"


class TargetUnreachableError(TargetError):
    code = "target_unreachable"
    title = "The server can't be reached or sent an invalid response"
    retryable = True


class TargetTimeoutError(TargetUnreachableError):
    code = "target_timeout"
    title = "The server did not respond in time"


# ── Backing services ─────────────────────────────────────────────────────────────────────────────


class DependencyError(PixelflowError):
    """A backing service rejected a request or did not respond."""

    code = "dependency_unavailable"
    title = "A backing service is unavailable"
    retryable = True
    fault = Fault.SERVICE


class StoreUnavailableError(DependencyError):
    code = "store_unavailable"


class StoreReadOnlyError(StoreUnavailableError):
    """The server is a standby, or its operator has forbidden changes."""

    code = "store_read_only"
    title = "The database accepts no changes"


class ResourceBusyError(StoreUnavailableError):
    """A statement waited too long for a lock. It had no effect."""

    code = "resource_busy"
    title = "The resource is in use"


class ObjectsUnavailableError(DependencyError):
    code = "objects_unavailable"


class QueueUnavailableError(DependencyError):
    code = "queue_unavailable"


class IssuerUnavailableError(DependencyError):
    code = "issuer_unavailable"


class LimiterUnavailableError(DependencyError):
    code = "limiter_unavailable"


class DeadlineExceededError(DependencyError):
    """A request took longer than the API allows."""

    code = "deadline_exceeded"
    title = "The request took too long"


class WorkerUnavailableError(DependencyError):
    """The worker's machine lacks disk space, memory, descriptors or processes. Only workers raise it."""

    code = "worker_unavailable"
    title = "The worker lacks resources"
