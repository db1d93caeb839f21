"""Maps errors to ``application/problem+json`` responses (RFC 9457). The only module that knows their HTTP statuses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from pixelflow import errors as contracts_errors
from pixelflow.contracts.field_errors import field_errors, validation_failed
from pixelflow.contracts.responses import Problem
from pixelflow.controlplane.api import examples
from pixelflow.controlplane.api.body_size import check_size
from pixelflow.controlplane.api.parameters import allowed_methods, parameter_error, unknown_path_message

M = TypeVar("M", bound=BaseModel)

MEDIA_TYPE = "application/problem+json"

STATUSES: dict[type[contracts_errors.PixelflowError], int] = {
    contracts_errors.MalformedRequestError: 400,
    contracts_errors.IdempotencyKeyInvalidError: 400,
    contracts_errors.InvalidHttpError: 400,
    contracts_errors.UnauthenticatedError: 401,
    contracts_errors.InsufficientScopeError: 403,
    contracts_errors.LocalFilesDisabledError: 403,
    contracts_errors.UrlSourcesDisabledError: 403,
    contracts_errors.NotFoundError: 404,
    contracts_errors.MethodNotAllowedError: 405,
    contracts_errors.RequestTimeoutError: 408,
    contracts_errors.BatchCanceledError: 409,
    contracts_errors.BatchClosedError: 409,
    contracts_errors.JobAlreadyFinishedError: 409,
    contracts_errors.JobNotFinishedError: 409,
    contracts_errors.IdempotencyAnswerLostError: 409,
    contracts_errors.IdempotencyInProgressError: 409,
    contracts_errors.TooManyKeysError: 409,
    contracts_errors.AssetExistsError: 409,
    contracts_errors.TooManyAssetsError: 409,
    contracts_errors.TooManyPresetsError: 409,
    contracts_errors.TooManyUploadsError: 409,
    contracts_errors.TooManyWebhookEndpointsError: 409,
    contracts_errors.WebhookEndpointExistsError: 409,
    contracts_errors.WebhookEndpointDisabledError: 409,
    contracts_errors.WebhookSecretExistsError: 409,
    contracts_errors.SourceMissingError: 409,
    contracts_errors.OutputMissingError: 409,
    contracts_errors.BodyTooLargeError: 413,
    contracts_errors.SourceTooLargeError: 413,
    contracts_errors.UnsupportedMediaTypeError: 415,
    contracts_errors.IdempotencyKeyReusedError: 422,
    contracts_errors.UnsupportedCapabilityError: 422,
    contracts_errors.ValidationFailedError: 422,
    contracts_errors.OutputTooLargeError: 422,  # of a dry run
    contracts_errors.StepFailedError: 422,  # of a dry run
    contracts_errors.TooManyPixelsError: 422,  # of a dry run
    contracts_errors.RateLimitedError: 429,
    contracts_errors.TooManyConnectionsError: 429,
    contracts_errors.TooManyRequestsError: 429,
    contracts_errors.TooManyStreamsError: 429,
    contracts_errors.HeadersTooLargeError: 431,
    contracts_errors.OverloadedError: 503,
    contracts_errors.DependencyError: 503,
    contracts_errors.PixelflowError: 500,
}
"""Statuses by error class. A class without an entry has the status of its parent."""

MAX_ERRORS = 100
"""Limit of reported errors: a body of 1 MiB can have a hundred thousand."""
EXPECTED = (contracts_errors.PixelflowError, RequestValidationError, HTTPException)
"""Exceptions that have a response of their own. Any other one is a bug."""
_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}
_log = structlog.get_logger(__name__)


def bug() -> contracts_errors.PixelflowError:
    """The error that reports an unexpected exception to the client."""
    return contracts_errors.PixelflowError(
        "An unexpected error occurred and was logged; report the request ID to the operator"
    )


class InvalidBodyError(RequestValidationError):
    """A body that is not valid for ``model``."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], body: object, model: type[BaseModel]) -> None:
        super().__init__(rows, body=body)
        self.model = model


def validate_body(model: type[M], body: object, *, context: object) -> M:
    """Validate a request body as FastAPI does, and with a validation context, which FastAPI can't pass.

    Raises:
        InvalidBodyError: handled like FastAPI's own error.
        ValidationFailedError: the body exceeds the limits of ``body_size``.
    """
    check_size(body)
    try:
        return model.model_validate(body, context=context)
    except ValidationError as error:
        rows = [{**row, "loc": ("body", *row["loc"])} for row in error.errors(include_url=False, include_input=False)]
    raise InvalidBodyError(rows, body, model)


def install(app: FastAPI) -> None:
    """Register the handlers that turn errors into problem responses."""
    for error in EXPECTED:
        app.add_exception_handler(error, respond)


async def respond(request: Request, error: Exception) -> JSONResponse:
    """The response to a request that failed with one of ``EXPECTED``."""
    if isinstance(error, RequestValidationError):
        return _respond(request, _from_validation(error))
    if isinstance(error, HTTPException):
        return _on_http_exception(request, error)
    assert isinstance(error, contracts_errors.PixelflowError)  # noqa: S101  # one of `EXPECTED`
    return _on_error(request, error)


def response(
    error: contracts_errors.PixelflowError, request_id: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The problem response for ``error``."""
    status = status_of(type(error))
    problem = Problem(
        type=_type(type(error)),
        title=error.title,
        status=status,
        detail=error.detail,
        code=error.code,
        request_id=request_id,
        errors=list(error.errors) if isinstance(error, contracts_errors.ValidationFailedError) else None,
    )
    return _AsciiJson(
        problem.model_dump(mode="json", exclude_none=True),
        status_code=status,
        media_type=MEDIA_TYPE,
        headers={**_HEADERS.get(status, {}), **_headers_of(error), **(headers or {})},
    )


def _headers_of(error: contracts_errors.PixelflowError) -> dict[str, str]:
    if isinstance(error, contracts_errors.InsufficientScopeError):  # RFC 6750, section 3
        return {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{" ".join(error.scopes)}"'}
    if isinstance(error, contracts_errors.RateLimitedError | contracts_errors.TooManyStreamsError):
        return {"Retry-After": str(error.retry_after)}
    soon = contracts_errors.IdempotencyInProgressError | contracts_errors.TooManyRequestsError
    return {"Retry-After": "1"} if isinstance(error, soon) else {}


class _AsciiJson(JSONResponse):
    """JSON in ASCII: pointers may hold lone surrogates, which only escapes can encode."""

    def render(self, content: object) -> bytes:
        return json.dumps(content).encode("ascii")


def status_of(error: type[contracts_errors.PixelflowError]) -> int:
    """The HTTP status of a class of errors."""
    return next(STATUSES[cls] for cls in error.__mro__ if cls in STATUSES)


def _on_error(request: Request, error: contracts_errors.PixelflowError) -> JSONResponse:
    # The limiter logs its own outages, once each.
    if isinstance(error, contracts_errors.DependencyError) and not isinstance(
        error, contracts_errors.LimiterUnavailableError
    ):
        _log.warning("dependency unavailable", code=error.code, reason=type(error.__cause__).__name__)
    return _respond(request, error)


def _respond(
    request: Request, error: contracts_errors.PixelflowError, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    request.state.code = error.code  # for the log line of the request
    return response(error, request.state.request_id, headers)


def _from_validation(error: RequestValidationError) -> contracts_errors.RequestError:
    rows = error.errors()
    for row in rows:
        if row["type"] == "json_invalid":
            position = row["loc"][-1]
            where = f"; the body is not valid from character {position + 1} on" if isinstance(position, int) else ""
            return contracts_errors.MalformedRequestError(f"Send valid JSON in UTF-8{where}")
    for row in rows:
        if row["loc"][0] == "path":  # such as `job_id`
            return contracts_errors.NotFoundError(f"You have no {row['loc'][1].removesuffix('_id')} with this ID")
    if isinstance(error.body, bytes):
        return contracts_errors.UnsupportedMediaTypeError("Send JSON with `Content-Type: application/json`")
    body = [{**row, "loc": row["loc"][1:]} for row in rows if row["loc"][0] == "body"]
    model = error.model if isinstance(error, InvalidBodyError) else None
    fields = field_errors(body[:MAX_ERRORS], error.body, model)
    fields += [parameter_error(row) for row in rows if row["loc"][0] != "body"]
    return validation_failed(fields, complete=len(body) <= MAX_ERRORS)


def _on_http_exception(request: Request, error: HTTPException) -> JSONResponse:
    cause = error.__cause__  # FastAPI reports any exception while it reads the body as malformed JSON
    if isinstance(cause, contracts_errors.PixelflowError):
        return _on_error(request, cause)
    if error.status_code == status_of(contracts_errors.NotFoundError):
        return _respond(request, contracts_errors.NotFoundError(unknown_path_message(request)), error.headers)
    if error.status_code == status_of(contracts_errors.MethodNotAllowedError):
        allowed = ", ".join(allowed_methods(request))
        detail = f"This route supports {allowed}" if allowed else "This route does not support the method"
        headers = {"Allow": allowed} if allowed else error.headers
        return _respond(request, contracts_errors.MethodNotAllowedError(detail), headers)
    # FastAPI's own text for a body that it can't read
    return _respond(request, contracts_errors.MalformedRequestError("Send valid JSON in UTF-8"), error.headers)


def documented(*errors: type[contracts_errors.PixelflowError]) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that may raise ``errors``, with an example of each problem."""
    table: dict[int | str, dict[str, Any]] = {}
    for error in errors:
        row = table.setdefault(
            status_of(error), {"model": Problem, "description": "", "content": {MEDIA_TYPE: {"examples": {}}}}
        )
        row["description"] = ", ".join(filter(None, [row["description"], f"`{error.code}`"]))
        row["content"][MEDIA_TYPE]["examples"][error.code] = {"summary": error.title, "value": _example(error)}
    return table


def _example(error: type[contracts_errors.PixelflowError]) -> dict[str, Any]:
    errors = examples.ERRORS if issubclass(error, contracts_errors.ValidationFailedError) else None
    problem = Problem(
        type=_type(error),
        title=error.title,
        status=status_of(error),
        detail="What is wrong in this request",
        code=error.code,
        request_id=examples.REQUEST_ID,
        errors=[contracts_errors.FieldError(**row) for row in errors] if errors else None,
    )
    return problem.model_dump(mode="json", exclude_none=True)


def _type(error: type[contracts_errors.PixelflowError]) -> str:
    return f"/errors/{error.code}"
