"""Single requests to the API: sends them with authentication and parses the responses. Does no I/O.

All functions raise:
    ApiError: the API returned an error, or a response that this version does not understand.
    ConnectionFailedError: no response.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import TypeVar
from urllib.parse import urlencode
from uuid import UUID

from pydantic import BaseModel, ValidationError

from pixelflow.client.arguments import to_uuid
from pixelflow.client.errors import ApiError
from pixelflow.client.models import Operation, Request, Response
from pixelflow.client.retries import retry_after, send
from pixelflow.client.session import Session
from pixelflow.contracts.responses import Problem

M = TypeVar("M", bound=BaseModel)

_NOT_FOUND = 404


def job_path(job_id: UUID | str) -> str:
    """Return the path of a job.

    Raises:
        TypeError, ValueError: it is not an ID.
    """
    return f"/v1/jobs/{to_uuid(job_id, 'job_id')}"


def get(
    session: Session,
    path: str,
    model: type[M],
    *,
    query: Mapping[str, object] | None = None,
    deadline: float | None = None,
    final: Collection[str] = (),
) -> Operation[M]:
    """GET ``path``; parameters of ``query`` that are None are omitted.

    Errors with a code in ``final`` are raised at once.
    """
    encoded = urlencode({name: value for name, value in (query or {}).items() if value is not None})
    url = session.url(path + (f"?{encoded}" if encoded else ""))
    response = yield from send(session, Request("GET", url, session.headers()), deadline=deadline, final=final)
    return parse(response, model)


def post(
    session: Session, path: str, model: type[M], body: bytes = b"", *, idempotency_key: str | None = None
) -> Operation[M]:
    """POST ``body`` with an ``Idempotency-Key``, so that the request takes effect once even if it is sent again."""
    headers = session.headers() | {"Idempotency-Key": idempotency_key or session.new_id()}
    if body:
        headers["Content-Type"] = "application/json"
    response = yield from send(session, Request("POST", session.url(path), headers, body))
    return parse(response, model)


def post_idempotent(session: Session, path: str) -> Operation[Response]:
    """POST to a route that has no further effect if it is called again, without a key. Return the response."""
    return (yield from send(session, Request("POST", session.url(path), session.headers())))


def patch(session: Session, path: str, model: type[M], body: bytes) -> Operation[M]:
    """PATCH ``path`` with the new values of fields: a repeated request has no further effect."""
    headers = session.headers() | {"Content-Type": "application/json"}
    response = yield from send(session, Request("PATCH", session.url(path), headers, body))
    return parse(response, model)


def delete(session: Session, path: str) -> Operation[None]:
    """DELETE ``path``."""
    response = yield from send(session, Request("DELETE", session.url(path), session.headers()))
    # An earlier attempt whose response was lost may have deleted it.
    deleted_before = response.repeated and response.status == _NOT_FOUND
    if not response.succeeded and not deleted_before:
        raise error_of(response)


def parse(response: Response, model: type[M]) -> M:
    """Return the content of a successful response."""
    if response.succeeded:
        parsed = _parse_body(response, model)
        if parsed is not None:
            return parsed
    raise error_of(response)


def error_of(response: Response) -> ApiError:
    """Return the error that a response is."""
    problem = None if response.succeeded else _parse_body(response, Problem)
    if problem is None:
        return ApiError(
            code="unexpected_answer",
            status=response.status,
            detail="The response is not one that this version of the SDK understands",
            request_id=response.headers.get("x-request-id"),
            retry_after=retry_after(response),
        )
    return ApiError(
        code=problem.code,
        status=response.status,
        detail=problem.detail,
        title=problem.title,
        errors=problem.errors or (),
        request_id=problem.request_id,
        retry_after=retry_after(response),
    )


def _parse_body(response: Response, model: type[M]) -> M | None:
    # The reason is discarded: it repeats parts of the body, which may be presigned URLs.
    try:
        return model.model_validate(json.loads(response.body))
    except (ValueError, ValidationError, RecursionError):
        return None
