"""Every way in which PixelFlow says no, as one tree of errors with stable codes.

    PixelflowError
    ├── RequestError            the caller asked for something that can't be done as asked
    ├── JobError                an attempt failed; kept in the job's row and shown to its owner
    │   ├── SourceError         the source itself can't be used: permanent
    │   └── TransformError      the transform did not end well
    ├── TargetError             a call to somebody else's server came to nothing: a receiver of webhooks, an issuer
    └── DependencyError         a server that PixelFlow stands on did not answer: retryable

HTTP statuses are not known here; they are mapped in ``controlplane.api.problems``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field


class FieldError(BaseModel):
    """One thing wrong in a request body."""

    model_config = ConfigDict(frozen=True)

    pointer: Annotated[
        str, Field(description="JSON Pointer (RFC 6901) to the wrong value.", examples=["/pipeline/0/width"])
    ]
    message: Annotated[str, Field(description="What is wrong and what to change.")]


class PixelflowError(Exception):
    """Root of the tree. ``str(error)`` is fit for the client; it names no secret and no machine."""

    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Something went wrong on our side"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


# ── Requests ─────────────────────────────────────────────────────────────────────────────────────


class RequestError(PixelflowError):
    """The caller asked for something that can't be done as asked."""


class ValidationFailedError(RequestError):
    code = "validation_failed"
    title = "The request is not valid"

    def __init__(self, detail: str, errors: Sequence[FieldError]) -> None:
        super().__init__(detail)
        self.errors = tuple(errors)


class MalformedRequestError(RequestError):
    code = "malformed_request"
    title = "The body is not JSON"


class BodyTooLargeError(RequestError):
    code = "body_too_large"
    title = "The body is too large"


class UnsupportedMediaTypeError(RequestError):
    code = "unsupported_media_type"
    title = "The body must be JSON"


class UnauthenticatedError(RequestError):
    code = "unauthenticated"
    title = "A valid API key or token is needed"


class InsufficientScopeError(RequestError):
    code = "insufficient_scope"
    title = "The API key or token may not be used for this"

    def __init__(self, scopes: Sequence[str]) -> None:
        super().__init__(f"This needs {' and '.join(f'`{scope}`' for scope in scopes)}")
        self.scopes = tuple(scopes)


class RateLimitedError(RequestError):
    """Nothing was done; ``retry_after`` is in seconds."""

    code = "rate_limited"
    title = "There were more requests than allowed"

    def __init__(self, detail: str, *, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class TooManyKeysError(RequestError):
    code = "too_many_keys"
    title = "There are as many keys as allowed"


class IdempotencyKeyInvalidError(RequestError):
    code = "idempotency_key_invalid"
    title = "The Idempotency-Key can't be used"


class IdempotencyKeyReusedError(RequestError):
    code = "idempotency_key_reused"
    title = "The Idempotency-Key belongs to another request"


class IdempotencyAnswerLostError(RequestError):
    code = "idempotency_answer_lost"
    title = "The first answer to this Idempotency-Key can't be read any more"


class IdempotencyInProgressError(RequestError):
    code = "idempotency_in_progress"
    title = "The first request with this Idempotency-Key is still being answered"


class NotFoundError(RequestError):
    code = "not_found"
    title = "There is no such thing"


class MethodNotAllowedError(RequestError):
    code = "method_not_allowed"
    title = "The route does not take this method"


class JobAlreadyFinishedError(RequestError):
    code = "job_already_finished"
    title = "The job is over"


class JobNotFinishedError(RequestError):
    code = "job_not_finished"
    title = "The job is not over"


class SourceMissingError(RequestError):
    code = "source_missing"
    title = "The source has not been uploaded"


class SourceTooLargeError(RequestError):
    code = "source_too_large"
    title = "The source is too large"


class LocalFilesDisabledError(RequestError):
    code = "local_files_disabled"
    title = "Local files are not enabled for this path"


# ── Attempts ─────────────────────────────────────────────────────────────────────────────────────


class JobError(PixelflowError):
    """An attempt failed. ``step_id`` names the step at fault, if it was one."""

    def __init__(self, detail: str, *, step_id: str | None = None) -> None:
        super().__init__(detail)
        self.step_id = step_id


class SourceError(JobError):
    """The source can't be used, now or ever."""


class SourceGoneError(SourceError):
    code = "source_gone"
    title = "The source is no longer there"


class SourceOverLimitError(SourceError):
    code = "source_too_large"
    title = "The source has more bytes than allowed"


class UnsupportedFormatError(SourceError):
    code = "unsupported_format"
    title = "The source is not a picture in a supported format"


class UndecodableError(SourceError):
    code = "undecodable"
    title = "The source is damaged or truncated"


class TooManyPixelsError(SourceError):
    code = "too_many_pixels"
    title = "The source has more pixels than allowed"


class TransformError(JobError):
    """The transform of a readable source did not end well."""


class OutputTooLargeError(TransformError):
    code = "output_too_large"
    title = "A step would make a picture larger than allowed"


class StepFailedError(TransformError):
    code = "step_failed"
    title = "A step can't be applied to this picture"


class TransformTimeoutError(TransformError):
    code = "transform_timeout"
    title = "The transform took longer than allowed"


class OutOfMemoryError(TransformError):
    """Not retryable: the next try would have the same limit."""

    code = "out_of_memory"
    title = "The transform needed more memory than allowed"


class TransformCrashedError(TransformError):
    code = "transform_crashed"
    title = "The process that transforms pictures died"
    retryable = True


class AttemptsExhaustedError(JobError):
    code = "attempts_exhausted"
    title = "The job was tried as often as allowed"


# ── Other people's servers ───────────────────────────────────────────────────────────────────────


class TargetError(PixelflowError):
    """A call to a server that is not PixelFlow's came to nothing. Names no address that a name led to."""


class TargetRefusedError(TargetError):
    code = "target_refused"
    title = "PixelFlow does not call this address"


class TargetUnreachableError(TargetError):
    code = "target_unreachable"
    title = "The server gave no answer that can be understood"
    retryable = True


class TargetTimeoutError(TargetUnreachableError):
    code = "target_timeout"
    title = "The server did not answer in time"


# ── What PixelFlow stands on ─────────────────────────────────────────────────────────────────────


class DependencyError(PixelflowError):
    """A server that PixelFlow stands on refused or did not answer."""

    code = "dependency_unavailable"
    title = "A service that we need is not available"
    retryable = True


class StoreUnavailableError(DependencyError):
    code = "store_unavailable"


class ObjectsUnavailableError(DependencyError):
    code = "objects_unavailable"


class QueueUnavailableError(DependencyError):
    code = "queue_unavailable"


class IssuerUnavailableError(DependencyError):
    code = "issuer_unavailable"


class LimiterUnavailableError(DependencyError):
    code = "limiter_unavailable"
