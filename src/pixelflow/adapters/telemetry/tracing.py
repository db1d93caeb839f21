"""Traces: one request's path through all processes, as OpenTelemetry spans.

Callers use OpenTelemetry's API, which does nothing unless the standard ``OTEL_…`` variables enable traces; the SDK is
loaded only then. A span must never contain a secret, a presigned URL or any other URL's query.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeAlias

from opentelemetry.context import Context
from opentelemetry.trace import (
    NoOpTracer,
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pixelflow.adapters.telemetry import trace_settings
from pixelflow.errors import PixelflowError

Attributes: TypeAlias = Mapping[str, str | int | float | bool]

_PROPAGATOR = TraceContextTextMapPropagator()


@contextmanager
def open_tracer(*, role: str) -> Iterator[Tracer]:
    """The tracer of a process; spans that are still unsent at the end are sent then, within a deadline.

    Raises:
        SettingsError: an ``OTEL_…`` variable is not valid.
    """
    exporter = trace_settings.load()
    if exporter is None:
        yield NoOpTracer()
        return
    from pixelflow.adapters.telemetry import span_export  # noqa: PLC0415  # loads the SDK

    with span_export.open_tracer(exporter, role=role) as tracer:
        yield tracer


@contextmanager
def start_span(
    tracer: Tracer,
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    *,
    parent: str | None = None,
    start_ns: int | None = None,
    attributes: Attributes | None = None,
) -> Iterator[Span]:
    """A span that is current while the context lasts; an exception that leaves the context marks it as failed.

    In place of ``tracer.start_as_current_span``, which by default records the text of the exception.

    Args:
        tracer: creates the span.
        name: of low cardinality.
        kind: as OpenTelemetry defines it.
        parent: the parent's ``traceparent``. None: the current span, or a new trace.
        start_ns: nanoseconds since the epoch, if it started before now.
        attributes: initial attributes.
    """
    with tracer.start_as_current_span(
        name,
        _context(parent),
        kind,
        attributes,
        start_time=start_ns,
        record_exception=False,  # the text of an exception may quote anything
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except BaseException as error:
            set_error(span, error.code if isinstance(error, PixelflowError) else type(error).__name__)
            raise


def record_span(
    tracer: Tracer,
    name: str,
    *,
    start_ns: int,
    end_ns: int,
    parent: str | None = None,
    attributes: Attributes | None = None,
) -> None:
    """Record an operation that has ended. Times are nanoseconds since the epoch; the rest as :func:`start_span`."""
    tracer.start_span(name, _context(parent), attributes=attributes, start_time=start_ns).end(end_ns)


def set_error(span: Span, code: str) -> None:
    """Mark a span as failed; ``code`` is an error's stable code."""
    span.set_attribute("error.type", code)
    span.set_status(Status(StatusCode.ERROR))


def traceparent_of(span: Span) -> str | None:
    """The W3C Trace Context header (version 00) that makes another span its child; None outside of a trace."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, set_span_in_context(span))
    return carrier.get("traceparent")


def log_keys(span: Span) -> dict[str, str]:
    """Keys for log lines: ``trace_id``, 32 hexadecimal digits; none outside of a trace."""
    context = span.get_span_context()
    return {"trace_id": format_trace_id(context.trace_id)} if context.is_valid else {}


def _context(traceparent: str | None) -> Context | None:
    """None is the current context."""
    return None if traceparent is None else _PROPAGATOR.extract({"traceparent": traceparent}, Context())
