"""One call of the API: how it is sent, how its answer is read. Does no I/O."""

from __future__ import annotations

import json
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from pixelflow.client.errors import ApiError
from pixelflow.client.exchange import Operation, Request, Response
from pixelflow.client.retries import send
from pixelflow.client.session import Session
from pixelflow.contracts.jobs import Problem

M = TypeVar("M", bound=BaseModel)


def post(session: Session, path: str, body: bytes = b"") -> Operation[Response]:
    """Send a POST that does what it does once, however often it has to be sent.

    Raises:
        ConnectionFailedError: no answer.
    """
    headers = session.headers() | {"Idempotency-Key": session.new_id()}
    if body:
        headers["Content-Type"] = "application/json"
    response = yield from send(session, Request("POST", session.url(path), headers, body))
    return response


def answered(response: Response, model: type[M]) -> M:
    """The body of a successful answer as ``model``.

    Raises:
        ApiError: the answer is a problem, or nothing that this version understands.
    """
    if response.succeeded:
        answer = _read(response, model)
        if answer is not None:
            return answer
    raise refusal(response)


def refusal(response: Response) -> ApiError:
    """The error that an answer is, which is not one of success or not one that this version understands."""
    problem = None if response.succeeded else _read(response, Problem)
    if problem is None:
        return ApiError(
            code="unexpected_answer",
            status=response.status,
            detail="The answer is not one of a PixelFlow API that this version understands",
            request_id=response.headers.get("x-request-id"),
        )
    return ApiError(
        code=problem.code,
        status=response.status,
        detail=problem.detail,
        errors=problem.errors or (),
        request_id=problem.request_id,
    )


def _read(response: Response, model: type[M]) -> M | None:
    # The reason is not kept: it repeats pieces of the body, which may be presigned URLs.
    try:
        return model.model_validate(json.loads(response.body))
    except (ValueError, ValidationError, RecursionError):
        return None
