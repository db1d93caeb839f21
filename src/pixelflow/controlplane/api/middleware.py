"""ASGI middleware around every request: request ID, body limit, response headers, access log, metrics and tracing.

Must never buffer a body. A span must never contain a query string, a header or an address; it names the path by its
route template.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any
from uuid import UUID, uuid4

import structlog
from fastapi import Depends, Header, Request
from opentelemetry.trace import NoOpTracer, Span, SpanKind, Tracer
from pydantic import BeforeValidator
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pixelflow.adapters.telemetry.tracing import log_keys, set_error, start_span, traceparent_of
from pixelflow.controlplane.api import problems
from pixelflow.controlplane.api.body_size import max_body_bytes
from pixelflow.controlplane.api.metrics import METHODS, ApiMetrics
from pixelflow.errors import BodyTooLargeError, PixelflowError, RequestTimeoutError

BODY_TIMED_OUT = "body_timed_out"
"""Key of the request's state that the server sets when the body did not arrive in time."""
MARK_HELD = "mark_held"
"""Key of the request's state with the server's function that must know whether the answer is being held."""
WAITED_SECONDS = "waited_seconds"
"""Key of the request's state with the time that it only waited: the service did nothing for it then."""
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
"""Of each response, unless its route sets another value: answers hold presigned URLs and secrets, and no browser must
ever run or frame one (OWASP REST Security Cheat Sheet). HSTS is for whatever ends TLS."""
UNMATCHED = "unmatched"
_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,128}$")
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_UNTRACED = frozenset({"/healthz", "/readyz"})
_MIN_SERVER_ERROR = 500

_log = structlog.get_logger("pixelflow.access")


def route_of(scope: Scope) -> str:
    """Return the template of the matched route, such as ``/v1/jobs/{job_id}``: one of a fixed set for any request."""
    return getattr(scope.get("route"), "path", UNMATCHED)


@contextmanager
def waiting(scope: Scope) -> Iterator[None]:
    """While the request only waits: the time is not counted as time of the service."""
    state, started = scope["state"], time.perf_counter()
    try:
        yield
    finally:
        state[WAITED_SECONDS] = state.get(WAITED_SECONDS, 0.0) + time.perf_counter() - started


@contextmanager
def idle(scope: Scope) -> Iterator[None]:
    """As :func:`waiting`; besides, the connection gives way to new ones."""
    mark_held = scope["state"].get(MARK_HELD, lambda _: None)
    mark_held(True)
    try:
        with waiting(scope):
            yield
    finally:
        mark_held(False)


# ── Request context ──────────────────────────────────────────────────────────────────────────────


class RequestContextMiddleware:
    """Assigns the request ID, limits the body, handles unexpected exceptions, and logs and counts the request."""

    def __init__(self, app: ASGIApp, *, metrics: ApiMetrics, clock: Callable[[], float] = time.perf_counter) -> None:
        self._app = app
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._handle(scope, receive, send, request_id)

    async def _handle(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        started, status = self._clock(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update(scope["state"].get("headers", {}))  # also on error responses
                headers["X-Request-ID"] = request_id
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, _limit_body(receive, scope), send_with_headers)
        except ClientDisconnect:
            pass
        except Exception as error:
            if status:  # the response has started: the server logs the exception and closes the connection
                raise
            problem = _problem_of(error)
            scope["state"]["code"] = problem.code
            await problems.response(problem, request_id)(scope, receive, send_with_headers)
        finally:
            self._record(scope, status, seconds=self._clock() - started)

    def _record(self, scope: Scope, status: int, *, seconds: float) -> None:
        worked = max(0.0, seconds - scope["state"].get(WAITED_SECONDS, 0.0))
        self._metrics.request_finished(scope["method"], route_of(scope), status, worked)
        fields = _log_fields(scope)
        _log.info(
            "request", method=scope["method"], path=scope["path"], status=status, ms=round(seconds * 1000, 1), **fields
        )


def _problem_of(error: Exception) -> PixelflowError:
    """Return the error to respond with; one of the body's, or else a bug, which is logged."""
    if isinstance(error, BodyTooLargeError | RequestTimeoutError):
        return error
    _log.exception("unhandled error", exc_info=error)
    return problems.bug()


def _log_fields(scope: Scope) -> dict[str, str]:
    """Return the code of the error that was sent, and the job ID in the path, if there are any."""
    fields = {"code": scope["state"]["code"]} if "code" in scope["state"] else {}
    try:
        fields["job_id"] = str(UUID(scope.get("path_params", {})["job_id"]))
    except (KeyError, ValueError):  # no job ID, or an invalid one, which the logged path contains
        return fields
    return fields


def request_id_of(scope: Scope) -> str:
    """Return the client's request ID if it is valid, else a new one."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _REQUEST_ID.match(given) else uuid4().hex


def _limit_body(receive: Receive, scope: Scope) -> Receive:
    """Count the bytes of the body as they arrive. Reject a too large Content-Length before the first byte is read."""
    limit = max_body_bytes(scope["path"])
    declared: Any = Headers(scope=scope).get("content-length", "0")
    size = int(declared) if declared.isdigit() and int(declared) > limit else 0

    async def limited() -> Message:
        nonlocal size
        if size <= limit:
            message = await receive()
            if BODY_TIMED_OUT in scope["state"]:
                raise RequestTimeoutError("The body did not arrive in time; send the request again")
            size += len(message.get("body", b""))
        if size > limit:
            raise BodyTooLargeError(
                f"The body must be at most {limit} bytes; upload images to the presigned URL of a job"
            )
        return message

    return limited


# ── Tracing ──────────────────────────────────────────────────────────────────────────────────────


class TracingMiddleware:
    """Creates a span for every request that is not rejected early, except health checks."""

    def __init__(self, app: ASGIApp, *, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"] in _UNTRACED:
            await self._app(scope, receive, send)
            return
        parent = _valid_traceparent(Headers(scope=scope).get("traceparent"))
        if parent is None and isinstance(self._tracer, NoOpTracer):
            scope.setdefault("state", {})["traceparent"] = None
            await self._app(scope, receive, send)
            return
        with start_span(self._tracer, "HTTP", SpanKind.SERVER, parent=parent) as span:
            scope.setdefault("state", {})["traceparent"] = traceparent_of(span)
            with structlog.contextvars.bound_contextvars(**log_keys(span)):
                await self._handle(scope, receive, send, span)

    async def _handle(self, scope: Scope, receive: Receive, send: Send, span: Span) -> None:
        async def send_and_record(message: Message) -> None:
            if message["type"] == "http.response.start":
                _set_attributes(span, scope, message["status"])
            await send(message)

        await self._app(scope, receive, send_and_record)


def _set_attributes(span: Span, scope: Scope, status: int) -> None:
    """Follow OpenTelemetry's semantic conventions for HTTP servers, without those that may hold private data."""
    method = scope["method"] if scope["method"] in METHODS else "_OTHER"
    route = route_of(scope)
    span.update_name(f"{method} {route}")
    span.set_attributes(
        {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "pixelflow.request_id": scope["state"]["request_id"],
        }
    )
    if status >= _MIN_SERVER_ERROR:
        set_error(span, str(status))


def _valid_traceparent(header: str | None) -> str | None:
    """Drop an invalid header: it must never fail the request (W3C Trace Context, section 4.3)."""
    return header if header and _TRACEPARENT.fullmatch(header) else None


async def _traceparent(
    request: Request,
    _: Annotated[
        str | None,
        BeforeValidator(_valid_traceparent),
        Header(alias="traceparent", description="W3C Trace Context. An invalid value is ignored."),
    ] = None,
) -> str | None:
    traceparent: str | None = request.state.traceparent
    return traceparent


Traceparent = Annotated[str | None, Depends(_traceparent)]
"""The parent of the job's spans: the span of the request, or the client's own if tracing is off."""
