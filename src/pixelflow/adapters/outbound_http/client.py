"""Sends one request within one time limit. Connections are not reused, so that every request is checked again."""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

import certifi
import httpcore

from pixelflow.adapters.outbound_http.network import CheckedNetwork, Resolve, SystemResolver
from pixelflow.adapters.outbound_http.rule import OutboundRule, Target
from pixelflow.errors import TargetTimeoutError, TargetUnreachableError


@dataclass(frozen=True)
class HttpResponse:
    """A response with any status."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    """By lower-case name; of repeated headers, the last."""
    content: bytes = field(repr=False)
    """At most ``max_bytes``; see ``truncated``."""
    truncated: bool


class OutboundHttp:
    """Sends requests that a rule allows.

    Args:
        rule: the URLs and addresses that are allowed.
        resolve: resolves a host name; default: the system's resolver.
        tls: default: trusts the system's and certifi's certificate authorities.
    """

    def __init__(
        self, rule: OutboundRule, *, resolve: Resolve | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._rule = rule
        self._system = SystemResolver()
        self._network = CheckedNetwork(rule, resolve or self._system)
        self._tls = tls or _default_tls()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        content: bytes = b"",
        timeout: float,  # noqa: ASYNC109  # of the whole exchange, which this function enforces
        max_bytes: int,
    ) -> HttpResponse:
        """Send a request and read the beginning of the response.

        Args:
            method: such as ``POST``.
            url: checked here, even if the caller checked it before.
            headers: in addition to ``Host`` and ``Content-Length``.
            content: the body.
            timeout: seconds for name resolution, connection, request and response together.
            max_bytes: how many bytes of the response body to read.

        Raises:
            TargetRefusedError: the URL or an address is not allowed; nothing was sent.
            TargetTimeoutError: the timeout passed.
            TargetUnreachableError: there was no response.
            DependencyError: no resolver thread was free; nothing was sent.
        """
        target = self.check(url)
        with mapped_errors():
            async with asyncio.timeout(timeout), self.exchange(method, target, headers, content) as response:
                body, truncated = await _read_up_to(response, max_bytes)
        return HttpResponse(status=response.status, headers=headers_of(response), content=body, truncated=truncated)

    def check(self, url: str) -> Target:
        """Parse and check a URL.

        Raises:
            TargetRefusedError: the URL is not valid or not allowed.
        """
        return self._rule.check(url)

    @asynccontextmanager
    async def exchange(
        self,
        method: str,
        target: Target,
        headers: Mapping[str, str] = MappingProxyType({}),
        content: bytes = b"",
    ) -> AsyncIterator[httpcore.Response]:
        """Send a request; the response has no body yet. The caller limits its time, and uses ``mapped_errors``.

        Raises:
            TargetRefusedError: an address is not allowed; nothing was sent.
            DependencyError: no resolver thread was free; nothing was sent.
        """
        origin = httpcore.Origin(target.scheme.encode(), target.host.encode(), target.port)
        url = httpcore.URL(scheme=origin.scheme, host=origin.host, port=origin.port, target=target.path.encode())
        fixed = {"Host": target.authority, "Connection": "close", "Accept-Encoding": "identity"}
        connection = httpcore.AsyncHTTPConnection(origin, ssl_context=self._tls, network_backend=self._network)
        try:
            async with connection.stream(
                method, url, headers=[*(fixed | dict(headers)).items()], content=content
            ) as response:
                yield response
        finally:
            await connection.aclose()

    def close(self) -> None:
        """Stop the resolver threads."""
        self._system.close()


def headers_of(response: httpcore.Response) -> dict[str, str]:
    """Return the headers of a response by lower-case name; of repeated ones, the last."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}


async def _read_up_to(response: httpcore.Response, max_bytes: int) -> tuple[bytes, bool]:
    body = bytearray()
    async for chunk in response.aiter_stream():
        body += chunk
        if len(body) > max_bytes:
            return bytes(body[:max_bytes]), True
    return bytes(body), False


def _default_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    # A minimal system or container image may have no certificate authorities.
    context.load_verify_locations(certifi.where())
    return context


@contextmanager
def mapped_errors() -> Iterator[None]:
    """Map the errors of httpcore to those of PixelFlow."""
    try:
        yield
    except httpcore.ConnectTimeout as error:
        raise TargetTimeoutError("The server did not accept the connection in time") from error
    except (TimeoutError, httpcore.TimeoutException) as error:
        raise TargetTimeoutError("The server did not answer in time") from error
    except httpcore.ConnectError as error:
        raise TargetUnreachableError(_connect_reason(error)) from error
    except httpcore.RemoteProtocolError as error:
        raise TargetUnreachableError(_protocol_reason(error)) from error
    except (httpcore.NetworkError, OSError) as error:
        raise TargetUnreachableError("The server reset the connection before it sent a complete response") from error


def _connect_reason(error: httpcore.ConnectError) -> str:
    if isinstance(error.__cause__, ssl.SSLError):
        return _tls_reason(error.__cause__)
    if not isinstance(error.__cause__, OSError):  # of the stream of anyio
        return "The server closed the connection during the TLS handshake"
    for cause in _causes(error):
        if isinstance(cause, ConnectionRefusedError):
            return "The server refused the connection: nothing listens on the port, or a firewall rejects it"
        if isinstance(cause, OSError) and cause.errno in {errno.EHOSTUNREACH, errno.ENETUNREACH}:
            return "There is no route to the server"
    return "Could not connect to the server"


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"The server's certificate is not trusted: {error.verify_message}"
    if error.reason == "WRONG_VERSION_NUMBER":
        return "The server does not speak TLS on this port"
    return f"The TLS handshake with the server failed ({error.reason})"


def _protocol_reason(error: httpcore.RemoteProtocolError) -> str:
    # httpcore reports a close before the end of the headers itself, and passes on what h11 says of all else.
    if error.__cause__ is None or "peer closed connection" in str(error):
        return "The server closed the connection before it sent a complete response"
    return "The server's response is not valid HTTP/1.1"


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__
    while cause is not None:
        yield cause
        cause = cause.__cause__
