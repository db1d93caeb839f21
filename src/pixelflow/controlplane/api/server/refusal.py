"""The answer to a request or a connection that the server refuses itself, without the application."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from pixelflow.controlplane.api import problems
from pixelflow.controlplane.api.middleware import SECURITY_HEADERS
from pixelflow.errors import PixelflowError


def refusal_of(error: PixelflowError, request_id: str) -> bytes:
    """Return the whole response, which is the last one of its connection."""
    headers = {**SECURITY_HEADERS, "Connection": "close", "X-Request-ID": request_id}
    response = problems.response(error, request_id, headers)
    lines = b"".join(b"%b: %b\r\n" % header for header in response.raw_headers)
    return STATUS_LINE[response.status_code] + lines + b"\r\n" + bytes(response.body)
