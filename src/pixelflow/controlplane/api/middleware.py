"""Around every request: an id, a limit on the body, headers of every answer, a log line, a count, an answer to a bug.

Plain ASGI, so that nothing is buffered.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pixelflow.contracts.errors import BodyTooLargeError
from pixelflow.controlplane.api import problems
from pixelflow.controlplane.api.metrics import ApiMetrics

MAX_BODY_BYTES = 1024 * 1024
UNMATCHED = "unmatched"
_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,128}$")

_log = structlog.get_logger("pixelflow.access")


class RequestContextMiddleware:
    """Middleware, around all but the trace."""

    def __init__(self, app: ASGIApp, *, metrics: ApiMetrics, clock: Callable[[], float] = time.perf_counter) -> None:
        self._app = app
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._serve(scope, receive, send, request_id)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        started, status = self._clock(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update(scope["state"].get("headers", {}))  # whatever the answer came to be
                headers["X-Request-ID"] = request_id
            await send(message)

        try:
            await self._app(scope, _limited(receive, scope), send_with_id)
        except BodyTooLargeError as error:
            scope["state"]["code"] = error.code
            await problems.response(error, request_id)(scope, receive, send_with_id)
        except Exception:
            if status:  # too late for another answer: the server logs it, and closes the connection
                raise
            _log.exception("unhandled error")
            scope["state"]["code"] = problems.bug().code
            await problems.response(problems.bug(), request_id)(scope, receive, send_with_id)
        finally:
            self._tell(scope, status, seconds=self._clock() - started)

    def _tell(self, scope: Scope, status: int, *, seconds: float) -> None:
        self._metrics.answered(scope["method"], route_of(scope), status, seconds)
        about = _about(scope)
        _log.info(
            "request", method=scope["method"], path=scope["path"], status=status, ms=round(seconds * 1000, 1), **about
        )


def _about(scope: Scope) -> dict[str, str]:
    """The job that was asked for, and the code of the problem that was told."""
    about = {"code": scope["state"]["code"]} if "code" in scope["state"] else {}
    try:
        about["job_id"] = str(UUID(scope.get("path_params", {})["job_id"]))
    except (KeyError, ValueError):  # there is none, or nonsense, which stands in the path
        return about
    return about


def route_of(scope: Scope) -> str:
    """The template of the path that was asked for, such as ``/v1/jobs/{job_id}``: one of few, whatever is sent."""
    return getattr(scope.get("route"), "path", UNMATCHED)


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _REQUEST_ID.match(given) else uuid4().hex


def _limited(receive: Receive, scope: Scope) -> Receive:
    """Count the body as it comes; a length that is declared too large is refused before the first byte is read."""
    declared: Any = Headers(scope=scope).get("content-length", "0")
    seen = int(declared) if declared.isdigit() and int(declared) > MAX_BODY_BYTES else 0

    async def limited() -> Message:
        nonlocal seen
        if seen > MAX_BODY_BYTES:
            raise BodyTooLargeError(
                f"Send at most {MAX_BODY_BYTES} bytes; pictures go to object storage by the upload URL"
            )
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > MAX_BODY_BYTES:
            return await limited()
        return message

    return limited
