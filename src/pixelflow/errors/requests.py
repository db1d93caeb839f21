"""Errors of requests: the API rejects them."""

from __future__ import annotations

from collections.abc import Sequence

from pixelflow.errors.pixelflow_error import FieldError, PixelflowError


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


class TooManyRequestsError(RequestError):
    """The user's other requests use the user's share of a process's time. This one had no effect."""

    code = "too_many_requests"
    title = "Too many requests at once"
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


class TooManyStreamsError(RequestError):
    """``retry_after`` is in seconds."""

    code = "too_many_streams"
    title = "Too many streams and waiting requests"
    retryable = True

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


class TooManyPresetsError(RequestError):
    code = "too_many_presets"
    title = "The limit of presets or of their versions is reached"


class WebhookEndpointExistsError(RequestError):
    code = "webhook_endpoint_exists"
    title = "A webhook endpoint with this URL exists"


class WebhookEndpointDisabledError(RequestError):
    code = "webhook_endpoint_disabled"
    title = "The webhook endpoint is disabled"


class TooManyWebhookEndpointsError(RequestError):
    code = "too_many_webhook_endpoints"
    title = "The limit of webhook endpoints is reached"


class WebhookSecretExistsError(RequestError):
    code = "webhook_secret_exists"
    title = "The webhook secret was shown before"


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


class BatchClosedError(RequestError):
    code = "batch_closed"
    title = "The batch is closed"


class BatchCanceledError(RequestError):
    code = "batch_canceled"
    title = "The batch is canceled"


class JobAlreadyFinishedError(RequestError):
    code = "job_already_finished"
    title = "The job is already finished"


class JobNotFinishedError(RequestError):
    code = "job_not_finished"
    title = "The job is not finished"


class SourceMissingError(RequestError):
    code = "source_missing"
    title = "The source has not been uploaded"


class OutputMissingError(RequestError):
    code = "output_missing"
    title = "The job has no such output"


class SourceTooLargeError(RequestError):
    code = "source_too_large"
    title = "The source is too large"


class TooManyUploadsError(RequestError):
    code = "too_many_uploads"
    title = "The limit of pending uploads is reached"


class UnsupportedCapabilityError(RequestError):
    code = "unsupported_capability"
    title = "No worker of this installation can process the job"


class UrlSourcesDisabledError(RequestError):
    code = "url_sources_disabled"
    title = "Sources by URL are not enabled"


class LocalFilesDisabledError(RequestError):
    code = "local_files_disabled"
    title = "Local files are not enabled for this path"
