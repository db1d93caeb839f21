"""Between our requests and httpx's: what both drivers share of it. Sends nothing itself."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable
from functools import cache

import httpx

from pixelflow.client.errors import ConnectionFailedError
from pixelflow.client.exchange import Request, Response

TIMEOUT = httpx.Timeout(30.0, connect=5.0, pool=None)
"""Seconds without any progress. Waiting for a free connection is waiting for one's own uploads, and takes its time."""
LIMITS = httpx.Limits(max_connections=32, keepalive_expiry=2.0)
"""Idle connections are given up before a server does so (uvicorn: after 5 s), lest a request meets a closed one."""
MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""Of one answer of the API: a page of jobs with long pipelines stays far below."""
DIRECT = ("all://127.0.0.1", "all://localhost", "all://[::1]")
"""Never asked for through a proxy."""


@cache
def tls() -> ssl.SSLContext:
    """What to trust; read once per process, for it takes some 40 ms."""
    return httpx.create_ssl_context()


class _SignedUrl(httpx.URL):
    """A URL that keeps its query to itself: httpx writes every URL to its log, and a presigned one is a credential."""

    def __str__(self) -> str:
        return super().__str__().partition("?")[0]


def prepared(request: Request, body: bytes | Iterable[bytes] | AsyncIterator[bytes]) -> httpx.Request:
    """``request`` as httpx sends it: these headers and no others but ``Host``."""
    ready = httpx.Request(request.method, request.url, headers=dict(request.headers), content=body)
    ready.url = _SignedUrl(ready.url)
    return ready


class Intake:
    """Takes in one answer: into the sink if it is a success and there is one, else into memory, up to a limit."""

    def __init__(self, request: Request, answer: httpx.Response) -> None:
        self._answer = answer
        self._sink = request.sink if answer.is_success else None
        self._body = bytearray()
        if self._sink is not None:
            self._sink.begin()

    def take(self, chunk: bytes) -> None:
        """The next piece of the body."""
        if self._sink is not None:
            self._sink.write(chunk)
            return
        self._body += chunk
        if len(self._body) > MAX_ANSWER_BYTES:
            raise ConnectionFailedError("The answer is larger than any of a PixelFlow API", sent=True, transient=False)

    def response(self) -> Response:
        """The answer, once all of it is in."""
        headers = {name.lower(): value for name, value in self._answer.headers.items()}
        return Response(self._answer.status_code, headers, bytes(self._body))
