"""Traces: what became of one request, over all processes, as spans. What the rest of PixelFlow sees of them.

Off, unless the standard ``OTEL_…`` variables ask for traces: then :mod:`pixelflow.adapters.telemetry.otel` does the
work, and is loaded only then. A span must never be given a secret, a presigned URL or anything of a URL's query.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import Enum
from typing import Protocol, TypeAlias

from pixelflow.adapters.telemetry import trace_settings

Attributes: TypeAlias = Mapping[str, str | int | float | bool]


class Kind(Enum):
    """Who calls whom, as OpenTelemetry's ``SpanKind``."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    CONSUMER = "consumer"


class Span(Protocol):
    """Something that takes time, while it does."""

    @property
    def traceparent(self) -> str | None:
        """What to tell others, so that their spans stand below this one (W3C Trace Context)."""

    def rename(self, name: str) -> None:
        """Call it what it has turned out to be."""

    def tell(self, attributes: Attributes) -> None:
        """Add to what is known of it."""

    def fail(self, code: str) -> None:
        """Mark it as failed; ``code`` is an error's stable code."""


class Tracer(Protocol):
    """Makes spans."""

    def span(
        self,
        name: str,
        kind: Kind = Kind.INTERNAL,
        *,
        parent: str | None = None,
        begun_ns: int | None = None,
        attributes: Attributes | None = None,
    ) -> AbstractContextManager[Span]:
        """A span for as long as the context lasts; an exception that leaves it marks it as failed.

        Args:
            name: one of few.
            kind: who calls whom.
            parent: the ``traceparent`` of what it belongs to. None: the span around it, or a trace of its own.
            begun_ns: since the epoch, if it has begun before; else now.
            attributes: what is known of it.
        """

    def past(
        self,
        name: str,
        *,
        begun_ns: int,
        ended_ns: int,
        parent: str | None = None,
        attributes: Attributes | None = None,
    ) -> None:
        """A span of something that is over; times are since the epoch."""


class _Untraced:
    """A span that is none: passes on what it was given."""

    def __init__(self, traceparent: str | None) -> None:
        self.traceparent = traceparent

    def rename(self, name: str) -> None:
        """Nobody listens."""

    def tell(self, attributes: Attributes) -> None:
        """Nobody listens."""

    def fail(self, code: str) -> None:
        """Nobody listens."""


class NoopTracer:
    """No traces are made; those of others are passed on."""

    def span(
        self,
        name: str,  # noqa: ARG002  # as all of these, for whoever makes spans
        kind: Kind = Kind.INTERNAL,  # noqa: ARG002
        *,
        parent: str | None = None,
        begun_ns: int | None = None,  # noqa: ARG002
        attributes: Attributes | None = None,  # noqa: ARG002
    ) -> AbstractContextManager[Span]:
        """Only ``parent`` is of interest."""
        return nullcontext(_Untraced(parent))

    def past(
        self,
        name: str,
        *,
        begun_ns: int,
        ended_ns: int,
        parent: str | None = None,
        attributes: Attributes | None = None,
    ) -> None:
        """Nothing is of interest."""


def log_keys(span: Span) -> dict[str, str]:
    """What lines of the log have while the span is open: the id of its trace, 32 hexadecimal digits, if it has one."""
    return {"trace_id": span.traceparent.split("-")[1]} if span.traceparent else {}


@contextmanager
def traced(*, role: str) -> Iterator[Tracer]:
    """What a process makes its spans with; what is still to be sent at the end is sent then, or given up soon.

    Raises:
        SettingsError: the ``OTEL_…`` variables ask for what is not to be had.
    """
    exporter = trace_settings.load()
    if exporter is None:
        yield NoopTracer()
        return
    from pixelflow.adapters.telemetry import otel  # noqa: PLC0415  # loads the SDK

    with otel.exporting(exporter, role=role) as tracing:
        yield tracing
