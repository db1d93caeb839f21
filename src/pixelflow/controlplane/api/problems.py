"""Errors as ``application/problem+json`` (RFC 9457): the only place that knows HTTP statuses of errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from pixelflow.contracts import problems
from pixelflow.contracts.job import Problem
from pixelflow.contracts.refusals import explain
from pixelflow.contracts.wording import sentence
from pixelflow.controlplane.api import examples

MEDIA_TYPE = "application/problem+json"

STATUSES: dict[type[problems.PixelflowError], int] = {
    problems.MalformedRequestError: 400,
    problems.IdempotencyKeyInvalidError: 400,
    problems.UnauthenticatedError: 401,
    problems.InsufficientScopeError: 403,
    problems.LocalFilesDisabledError: 403,
    problems.NotFoundError: 404,
    problems.MethodNotAllowedError: 405,
    problems.JobAlreadyFinishedError: 409,
    problems.JobNotFinishedError: 409,
    problems.IdempotencyAnswerLostError: 409,
    problems.IdempotencyInProgressError: 409,
    problems.TooManyKeysError: 409,
    problems.SourceMissingError: 409,
    problems.BodyTooLargeError: 413,
    problems.SourceTooLargeError: 413,
    problems.UnsupportedMediaTypeError: 415,
    problems.IdempotencyKeyReusedError: 422,
    problems.ValidationFailedError: 422,
    problems.RateLimitedError: 429,
    problems.DependencyError: 503,
    problems.PixelflowError: 500,
}
"""The status of each error; a class that is not here has its parent's."""

MAX_ERRORS = 100
"""A body of a mebibyte can be wrong in a hundred thousand places; beyond these they are not told."""
_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}
_ROUTING = {
    404: problems.NotFoundError("There is no such route"),
    405: problems.MethodNotAllowedError("Use another method"),
}

_log = structlog.get_logger(__name__)


def bug() -> problems.PixelflowError:
    """What is told of an error that nobody foresaw."""
    return problems.PixelflowError("The error is ours and has been logged; tell us the request id")


def install(app: FastAPI) -> None:
    """Make every error that is foreseen a problem."""
    app.add_exception_handler(problems.PixelflowError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_exception)


def response(error: problems.PixelflowError, request_id: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer that tells of ``error``."""
    status = status_of(type(error))
    problem = Problem(
        type=_type(type(error)),
        title=error.title,
        status=status,
        detail=error.detail,
        code=error.code,
        request_id=request_id,
        errors=list(error.errors) if isinstance(error, problems.ValidationFailedError) else None,
    )
    return _AsciiJson(
        problem.model_dump(mode="json", exclude_none=True),
        status_code=status,
        media_type=MEDIA_TYPE,
        headers={**_HEADERS.get(status, {}), **_headers_of(error), **(headers or {})},
    )


def _headers_of(error: problems.PixelflowError) -> dict[str, str]:
    if isinstance(error, problems.InsufficientScopeError):  # RFC 6750, section 3
        return {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{" ".join(error.scopes)}"'}
    if isinstance(error, problems.RateLimitedError):
        return {"Retry-After": str(error.retry_after)}
    return {"Retry-After": "1"} if isinstance(error, problems.IdempotencyInProgressError) else {}


class _AsciiJson(JSONResponse):
    """JSON in ASCII: what was wrong may be quoted, and a lone surrogate has no other encoding."""

    def render(self, content: object) -> bytes:
        return json.dumps(content).encode("ascii")


def status_of(error: type[problems.PixelflowError]) -> int:
    """The HTTP status of a class of errors."""
    return next(STATUSES[cls] for cls in error.__mro__ if cls in STATUSES)


async def _on_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, problems.PixelflowError)  # noqa: S101  # how the handler is registered
    # The limiter tells by itself, once, when it goes away.
    if isinstance(error, problems.DependencyError) and not isinstance(error, problems.LimiterUnavailableError):
        _log.warning("dependency unavailable", code=error.code, reason=type(error.__cause__).__name__)
    return _answer(request, error)


async def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101  # how the handler is registered
    limit: int = request.state.services.jobs.max_source_bytes
    return _answer(request, _from_validation(error, limit))


def _answer(request: Request, error: problems.PixelflowError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    request.state.code = error.code  # for the log line of the request
    return response(error, request.state.request_id, headers)


def _from_validation(error: RequestValidationError, max_source_bytes: int) -> problems.RequestError:
    rows = error.errors()
    if any(row["type"] == "json_invalid" for row in rows):
        return problems.MalformedRequestError("Send a body that is valid JSON")
    for row in rows:
        if row["loc"][0] == "path":  # such as `job_id`
            return problems.NotFoundError(f"You have no {row['loc'][1].removesuffix('_id')} of that id")
    if isinstance(error.body, bytes):
        return problems.UnsupportedMediaTypeError("Send JSON with `Content-Type: application/json`")
    body = [{**row, "loc": row["loc"][1:]} for row in rows if row["loc"][0] == "body"]
    fields = explain(body[:MAX_ERRORS], error.body, max_source_bytes=max_source_bytes) if body else []
    fields += [
        problems.FieldError(pointer="/" + "/".join(map(str, row["loc"])), message=sentence(row))
        for row in rows
        if row["loc"][0] != "body"
    ]
    count = "1 thing is" if len(fields) == 1 else f"{len(fields)} things are"
    more = ", and more" if len(body) > MAX_ERRORS else ""
    return problems.ValidationFailedError(f"{count} wrong{more}; see `errors`", fields)


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101  # how the handler is registered
    cause = error.__cause__  # FastAPI takes whatever ends the reading of a body for malformed JSON
    if isinstance(cause, problems.PixelflowError):
        return await _on_error(request, cause)
    known = _ROUTING.get(error.status_code, problems.MalformedRequestError(str(error.detail)))
    return _answer(request, known, error.headers)


def documented(*errors: type[problems.PixelflowError]) -> dict[int | str, dict[str, Any]]:
    """For a route's ``responses``: which problems it may answer with, and what each looks like."""
    table: dict[int | str, dict[str, Any]] = {}
    for error in errors:
        row = table.setdefault(
            status_of(error), {"model": Problem, "description": "", "content": {MEDIA_TYPE: {"examples": {}}}}
        )
        row["description"] = ", ".join(filter(None, [row["description"], f"`{error.code}`"]))
        row["content"][MEDIA_TYPE]["examples"][error.code] = {"summary": error.title, "value": _example(error)}
    return table


def _example(error: type[problems.PixelflowError]) -> dict[str, Any]:
    errors = examples.ERRORS if issubclass(error, problems.ValidationFailedError) else None
    problem = Problem(
        type=_type(error),
        title=error.title,
        status=status_of(error),
        detail="What happened this time, in a sentence",
        code=error.code,
        request_id=examples.REQUEST_ID,
        errors=[problems.FieldError(**row) for row in errors] if errors else None,
    )
    return problem.model_dump(mode="json", exclude_none=True)


def _type(error: type[problems.PixelflowError]) -> str:
    return f"urn:pixelflow:problem:{error.code}"
