"""Downloads a file from a URL that a user chose, within limits of size, time and redirects.

Each redirect is checked like the first URL, and connects to checked addresses only. Errors name the scheme and the host
of a URL and nothing else of it: path and query may contain a secret. The body is stored as it is sent, never decoded.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO
from urllib.parse import urljoin

import httpcore

from pixelflow import __version__
from pixelflow.adapters.outbound_http.client import OutboundHttp, headers_of, mapped_errors
from pixelflow.adapters.outbound_http.rule import Target
from pixelflow.errors import (
    SourceOverLimitError,
    SourceUrlRefusedError,
    SourceUrlStatusError,
    SourceUrlUnavailableError,
    TargetRefusedError,
    TargetUnreachableError,
)

MAX_REDIRECTS = 5
FIRST_SECONDS = 30.0
"""For name resolution, all redirects and the first bytes together."""
MIN_BYTES_PER_SECOND = 250_000
"""A download may take the first seconds, and the time that its bytes take at this rate."""
RESERVE_BYTES = 4 * 1024 * 1024
"""Steps in which room is made: a server can announce a large file and send it slowly, or not at all."""
_MAX_DIGITS = 20
_OK = 200
_REDIRECTS = {301, 302, 303, 307, 308}
_TEMPORARY = {408, 425, 429}
_FIRST_SERVER_ERROR = 500
_HEADERS = {"User-Agent": f"PixelFlow/{__version__}", "Accept": "image/*,*/*;q=0.5"}

Reserve = Callable[[int], None]


class _FileError(Exception):
    """The file can't be written; the cause is the ``OSError``, which is none of the network."""


def _unlimited(_: int) -> None:
    """There is room for any file."""


class Downloads:
    """Downloads files through the guard of outbound requests."""

    def __init__(
        self,
        http: OutboundHttp,
        *,
        first_seconds: float = FIRST_SECONDS,
        min_bytes_per_second: float = MIN_BYTES_PER_SECOND,
    ) -> None:
        self._http = http
        self._first_seconds = first_seconds
        self._min_bytes_per_second = min_bytes_per_second

    async def get(
        self,
        url: str,
        file: BinaryIO,
        *,
        max_bytes: int,
        reserve: Reserve = _unlimited,
        on_redirect: Callable[[str], None] = lambda _: None,
    ) -> tuple[int, str]:
        """Copy the file at ``url`` into an empty one; return its size in bytes and its SHA-256 (hex).

        Calls ``reserve`` with the size so far, in steps, before it stores the bytes, and ``on_redirect`` with each
        further URL, which may be used, before it is requested.

        Raises:
            SourceUrlRefusedError: the URL, an address of its host or a redirect is not allowed.
            SourceUrlStatusError: the server does not send the file.
            SourceUrlUnavailableError: the server does not answer, is too slow, or sends an incomplete file.
            SourceOverLimitError: the file has more than ``max_bytes``.
            DependencyError: no resolver thread was free; nothing was sent.
            OSError: ``file`` can't be written.
        """
        copy = _Copy(file, max_bytes, reserve)
        is_redirected = False
        deadline = asyncio.get_running_loop().time() + self._first_seconds
        for _ in range(MAX_REDIRECTS + 1):
            target = _checked(self._http, url)
            if is_redirected:
                on_redirect(url)
            with _source_errors(target.origin):
                async with (
                    asyncio.timeout_at(deadline) as budget,
                    self._http.exchange("GET", target, _HEADERS) as response,
                ):
                    if response.status not in _REDIRECTS:
                        _check_response(response, target.origin)
                        copy.expect(response, target.origin)
                        async for chunk in response.aiter_stream():
                            copy.write(chunk)
                            budget.reschedule(deadline + copy.size / self._min_bytes_per_second)
                        return copy.size, copy.sha256
                    url, is_redirected = _redirected(url, response, target.origin), True
        raise SourceUrlRefusedError(
            f"{target.origin} redirects more than {MAX_REDIRECTS} times; use the URL of the file"
        )


class _Copy:
    """The copy of a file, as far as it was received."""

    def __init__(self, file: BinaryIO, max_bytes: int, reserve: Reserve) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._reserve = reserve
        self._reserved = 0
        self._hash = hashlib.sha256()
        self._origin = ""
        self.size = 0

    @property
    def sha256(self) -> str:
        """Of what was received, in hex."""
        return self._hash.hexdigest()

    def expect(self, response: httpcore.Response, origin: str) -> None:
        """Refuse a file that is announced as too large."""
        self._origin = origin
        announced = headers_of(response).get("content-length", "0")
        if len(announced) > _MAX_DIGITS or int(announced) > self._max_bytes:  # h11 accepts digits only
            raise self._too_large()

    def write(self, chunk: bytes) -> None:
        """Store what was received."""
        self.size += len(chunk)
        if self.size > self._max_bytes:
            raise self._too_large()
        if self.size > self._reserved:
            self._reserved = max(self.size, min(self._reserved + RESERVE_BYTES, self._max_bytes))
            self._reserve(self._reserved)
        self._hash.update(chunk)
        try:
            part = memoryview(chunk)
            while part:
                part = part[self._file.write(part) :]  # an unbuffered file may take less, as on a disk that gets full
        except OSError as error:
            raise _FileError from error

    def _too_large(self) -> SourceOverLimitError:
        return SourceOverLimitError(f"The file at {self._origin} exceeds the limit of {self._max_bytes} bytes")


def _checked(http: OutboundHttp, url: str) -> Target:
    try:
        return http.check(url)
    except TargetRefusedError as error:
        raise SourceUrlRefusedError(f"The URL, or one that it redirects to, {error.detail}") from None


def _check_response(response: httpcore.Response, origin: str) -> None:
    status = response.status
    if status >= _FIRST_SERVER_ERROR or status in _TEMPORARY:
        raise SourceUrlUnavailableError(f"{origin} answered {status}")
    if status != _OK:
        raise SourceUrlStatusError(f"{origin} answered {status}")
    if headers_of(response).get("content-encoding", "identity").lower() != "identity":
        # Not decoded: a few bytes could become any number of them.
        raise SourceUrlRefusedError(f"{origin} sends the file with a Content-Encoding, although none was accepted")


def _redirected(url: str, response: httpcore.Response, origin: str) -> str:
    location = headers_of(response).get("location")
    if not location:
        raise SourceUrlStatusError(f"{origin} answered {response.status} without a Location")
    try:
        return urljoin(url, location)
    except ValueError:
        raise SourceUrlRefusedError(f"{origin} redirects to something that is not a URL") from None


@contextmanager
def _source_errors(origin: str) -> Iterator[None]:
    """Map errors of the exchange to those of a source, with the server that caused them."""
    try:
        with mapped_errors():
            yield
    except TargetRefusedError as error:
        raise SourceUrlRefusedError(f"{origin}: the host of the URL {error.detail}") from None
    except TargetUnreachableError as error:
        raise SourceUrlUnavailableError(f"{origin}: {error.detail}") from error
    except _FileError as error:
        raise error.__cause__ or error from None
