"""The requests that an operation yields and the responses that its driver sends back. Does no I/O.

Operations are generators, so the blocking and the asynchronous client share one implementation of each.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Sink(Protocol):
    """Receives the body of a successful response in chunks."""

    def reset(self) -> None:
        """Discard what earlier attempts wrote: the body follows from its first byte."""

    def write(self, chunk: bytes) -> None:
        """Write the next chunk."""


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request. The driver sends back a ``Response`` or throws a ``ConnectionFailedError``.

    It must be idempotent: it is sent again if it is unknown whether the first one arrived. ``repr`` omits the headers
    and the URL, which may hold an API key or a signature.
    """

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | Callable[[], Iterator[bytes]] = field(default=b"", repr=False)
    sink: Sink | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response. ``body`` is empty if it was written to a sink. Names of ``headers`` are in lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    repeated: bool = False
    """Whether an earlier attempt, whose response was lost, may have taken effect."""

    @property
    def succeeded(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300  # noqa: PLR2004 - the range that RFC 9110 defines


@dataclass(frozen=True, slots=True)
class Sleep:
    """A request to the driver to wait for ``seconds``."""

    seconds: float


Operation = Generator[Request | Sleep, Any, T]
"""Yields requests and sleeps; returns a ``T``."""
Paginator = Iterator[Operation[Sequence[T]]]
"""Yields one operation for each page; an operation returns the items of its page."""
