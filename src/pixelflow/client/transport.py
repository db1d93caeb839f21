"""The conversion between the SDK's requests and httpx's, shared by both clients. Sends nothing itself."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable
from functools import cache

import httpx

from pixelflow.client.errors import ConnectionFailedError
from pixelflow.client.models import Request, Response
from pixelflow.client.streams import MEDIA_TYPE

TIMEOUT = httpx.Timeout(30.0, connect=5.0, pool=None)
"""Seconds without progress. There is no limit on waiting for a free connection: that is waiting for other uploads of
the same client."""
LIMITS = httpx.Limits(max_connections=32, keepalive_expiry=2.0)
"""Idle connections are closed before the server closes them (uvicorn: after 5 s), so that no request is sent on a
closed connection."""
MAX_RESPONSE_BYTES = 32 * 1024 * 1024
"""Largest response of the API. A page of jobs with long pipelines is far smaller."""
NO_PROXY = ("all://127.0.0.1", "all://localhost", "all://[::1]")
"""Addresses that are never requested through a proxy."""


@cache
def ssl_context() -> ssl.SSLContext:
    """The trusted certificates, loaded once per process because that takes about 40 ms."""
    return httpx.create_ssl_context()


class _SignedUrl(httpx.URL):
    """A URL whose text omits the query: httpx logs every URL, and a presigned URL is a credential."""

    def __str__(self) -> str:
        return super().__str__().partition("?")[0]


def to_httpx(request: Request, body: bytes | Iterable[bytes] | AsyncIterator[bytes]) -> httpx.Request:
    """Convert ``request`` to a request of httpx with the same headers; httpx adds only ``Host``."""
    converted = httpx.Request(request.method, request.url, headers=dict(request.headers), content=body)
    converted.url = _SignedUrl(converted.url)
    return converted


def is_stream(response: httpx.Response) -> bool:
    """Whether the body is an event stream, which has no end."""
    return response.is_success and response.headers.get("content-type", "").startswith(MEDIA_TYPE)


class ResponseReader:
    """Collects the body of one response: in the request's sink if the status is 2xx, otherwise in memory."""

    def __init__(self, request: Request, response: httpx.Response) -> None:
        self._response = response
        self._sink = request.sink if response.is_success else None
        self._body = bytearray()
        if self._sink is not None:
            self._sink.reset()

    def feed(self, chunk: bytes) -> None:
        """Add the next chunk of the body.

        Raises:
            ConnectionFailedError: the body is larger than ``MAX_RESPONSE_BYTES``.
        """
        if self._sink is not None:
            self._sink.write(chunk)
            return
        self._body += chunk
        if len(self._body) > MAX_RESPONSE_BYTES:
            raise ConnectionFailedError(
                f"The response is larger than {MAX_RESPONSE_BYTES} bytes", sent=True, transient=False
            )

    def response(self) -> Response:
        """The complete response."""
        headers = {name.lower(): value for name, value in self._response.headers.items()}
        return Response(self._response.status_code, headers, bytes(self._body))
