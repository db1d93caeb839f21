"""What an operation asks of its driver: send a request, or sleep. Values only, no I/O.

Operations are generators that yield these and are sent the answers, so that one text serves the blocking client and
the asynchronous one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Sink(Protocol):
    """Where the body of a successful answer goes, piece by piece."""

    def begin(self) -> None:
        """A body follows from its first byte; what an earlier try brought is void."""

    def write(self, chunk: bytes) -> None:
        """The next piece."""


@dataclass(frozen=True, slots=True)
class Request:
    """Send this, read the answer: the driver answers with a ``Response`` or throws a ``ConnectionFailedError``.

    Sent twice it must do what it does once, for it is sent again where nobody knows whether the first one arrived.
    Neither headers nor the URL are shown by ``repr``: they may hold a key or a signature.
    """

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | Callable[[], Iterator[bytes]] = field(default=b"", repr=False)
    sink: Sink | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """The answer; ``body`` is empty when it went to a sink. Names of ``headers`` are in lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    repeated: bool = False
    """Whether an earlier try may have done what was asked for, its answer lost."""

    @property
    def succeeded(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300  # noqa: PLR2004 - as HTTP has it


@dataclass(frozen=True, slots=True)
class Sleep:
    """Let ``seconds`` pass."""

    seconds: float


Operation = Generator[Request | Sleep, Any, T]
"""Asks for requests and sleeps; returns a ``T``."""
Flow = Iterator[Operation[Sequence[T]]]
"""One operation after the other, each returning some of the items that a caller iterates over."""
