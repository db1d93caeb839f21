"""One request, one answer, within one time limit. Connections are not kept: the next call is judged anew."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

import certifi
import httpcore

from pixelflow.adapters.outbound_http.network import JudgedNetwork, Resolve, SystemResolver
from pixelflow.adapters.outbound_http.rule import OutboundRule, Target
from pixelflow.contracts.errors import TargetTimeoutError, TargetUnreachableError


@dataclass(frozen=True)
class HttpResponse:
    """What a server said. Any status is an answer."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    """By names in lower case; of a header that comes twice, the last."""
    content: bytes = field(repr=False)
    """Its beginning, if there was more than asked for."""
    truncated: bool


class OutboundHttp:
    """Calls what the rule allows.

    Args:
        rule: what may be called.
        resolve: the addresses of a name; left out: the system's resolver.
        tls: left out: certificates must be vouched for by the system's or certifi's authorities.
    """

    def __init__(
        self, rule: OutboundRule, *, resolve: Resolve | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._rule = rule
        self._system = SystemResolver()
        self._network = JudgedNetwork(rule, resolve or self._system)
        self._tls = tls or _trusted()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        content: bytes = b"",
        timeout: float,  # noqa: ASYNC109  # the whole exchange's, which is this function's business
        max_bytes: int,
    ) -> HttpResponse:
        """Send a request and read the beginning of its answer.

        Args:
            method: such as ``POST``.
            url: judged here; who has judged it before need not be trusted.
            headers: beside ``Host`` and ``Content-Length``.
            content: the body.
            timeout: seconds for everything: name, connection, request and answer.
            max_bytes: of the answer's body that are read.

        Raises:
            TargetRefusedError: it must not be called; nothing was sent.
            TargetTimeoutError: it took too long.
            TargetUnreachableError: there was no answer.
            DependencyError: nobody was free to resolve its name; nothing was sent.
        """
        target = self._rule.judge(url)
        with _mapped():
            async with asyncio.timeout(timeout):
                return await self._exchange(method, target, dict(headers), content, max_bytes)

    async def _exchange(
        self, method: str, target: Target, headers: dict[str, str], content: bytes, max_bytes: int
    ) -> HttpResponse:
        origin = httpcore.Origin(target.scheme.encode(), target.host.encode(), target.port)
        url = httpcore.URL(scheme=origin.scheme, host=origin.host, port=origin.port, target=target.path.encode())
        own = {"Host": target.authority, "Connection": "close", "Accept-Encoding": "identity"}
        connection = httpcore.AsyncHTTPConnection(origin, ssl_context=self._tls, network_backend=self._network)
        try:
            async with connection.stream(method, url, headers=[*(own | headers).items()], content=content) as response:
                body, truncated = await _beginning(response, max_bytes)
        finally:
            await connection.aclose()
        names = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
        return HttpResponse(status=response.status, headers=names, content=body, truncated=truncated)

    def close(self) -> None:
        """Give up the threads that resolve names."""
        self._system.close()


async def _beginning(response: httpcore.Response, max_bytes: int) -> tuple[bytes, bool]:
    body = bytearray()
    async for chunk in response.aiter_stream():
        body += chunk
        if len(body) > max_bytes:
            return bytes(body[:max_bytes]), True
    return bytes(body), False


def _trusted() -> ssl.SSLContext:
    context = ssl.create_default_context()
    # A bare machine or a slim image may have no authorities of its own.
    context.load_verify_locations(certifi.where())
    return context


@contextmanager
def _mapped() -> Iterator[None]:
    """The one place where errors of httpcore become PixelFlow's."""
    try:
        yield
    except (TimeoutError, httpcore.TimeoutException) as error:
        raise TargetTimeoutError("The server did not answer in time") from error
    except httpcore.ConnectError as error:
        raise TargetUnreachableError(_connect_reason(error)) from error
    except httpcore.RemoteProtocolError as error:
        raise TargetUnreachableError("The server's answer is not HTTP/1.1") from error
    except (httpcore.NetworkError, OSError) as error:
        raise TargetUnreachableError("The connection broke before there was an answer") from error


def _connect_reason(error: httpcore.ConnectError) -> str:
    if isinstance(error.__cause__, ssl.SSLCertVerificationError):
        return f"The server's certificate can't be trusted: {error.__cause__.verify_message}"
    if isinstance(error.__cause__, ssl.SSLError):
        return "The server does not speak TLS as expected"
    return "No connection to the server could be made"
