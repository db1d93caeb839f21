"""A span around every request but those that ask whether the process is well; the outermost middleware.

Never shows a query string, a header or an address: paths are told by their templates.
"""

from __future__ import annotations

import re
from typing import Annotated

import structlog
from fastapi import Depends, Header, Request
from opentelemetry.trace import Span, SpanKind, Tracer
from pydantic import BeforeValidator
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pixelflow.adapters.telemetry.tracing import log_keys, set_error, start_span, traceparent_of
from pixelflow.controlplane.api.metrics import METHODS
from pixelflow.controlplane.api.middleware import route_of

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_UNTRACED = frozenset({"/healthz", "/readyz"})
_OURS = 500


class TracingMiddleware:
    """Middleware."""

    def __init__(self, app: ASGIApp, *, tracing: Tracer) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] in _UNTRACED:
            await self._app(scope, receive, send)
            return
        parent = _readable(Headers(scope=scope).get("traceparent"))
        with start_span(self._tracing, "HTTP", SpanKind.SERVER, parent=parent) as span:
            scope.setdefault("state", {})["traceparent"] = traceparent_of(span)
            with structlog.contextvars.bound_contextvars(**log_keys(span)):
                await self._serve(scope, receive, send, span)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, span: Span) -> None:
        async def send_and_tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                _tell(span, scope, message["status"])
            await send(message)

        await self._app(scope, receive, send_and_tell)


def _tell(span: Span, scope: Scope, status: int) -> None:
    """By OpenTelemetry's semantic conventions of HTTP servers, as far as they are nobody's secret."""
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
    if status >= _OURS:
        set_error(span, str(status))


def _readable(header: str | None) -> str | None:
    """Tracing must never get in the way of a request (W3C Trace Context, section 4.3)."""
    return header if header and _TRACEPARENT.fullmatch(header) else None


async def _traceparent(
    request: Request,
    _: Annotated[
        str | None,
        BeforeValidator(_readable),
        Header(alias="traceparent", description="W3C Trace Context; what can't be read is ignored."),
    ] = None,
) -> str | None:
    traceparent: str | None = request.state.traceparent
    return traceparent


Traceparent = Annotated[str | None, Depends(_traceparent)]
"""What the job's trace goes on from: our span of the request, or where none is made the client's own."""
