"""Spans by OpenTelemetry's SDK, which reads the standard ``OTEL_…`` variables: samplers, batches, endpoints.

Loaded only where traces are wanted. A collector that is away must never slow anybody down: spans are sent in the
background, and dropped when too many wait.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pixelflow import __version__
from pixelflow.adapters.telemetry.trace_settings import Exporter
from pixelflow.adapters.telemetry.tracing import Attributes, Kind, Span, Tracer
from pixelflow.adapters.telemetry.watched_exporter import watched
from pixelflow.contracts.errors import PixelflowError
from pixelflow.settings import SettingsError

GOODBYE_SECONDS = 2.0
"""For what is still to be sent when the process ends."""
_FAILED = trace.StatusCode.ERROR
_KINDS: Mapping[Kind, trace.SpanKind] = {
    Kind.INTERNAL: trace.SpanKind.INTERNAL,
    Kind.SERVER: trace.SpanKind.SERVER,
    Kind.CLIENT: trace.SpanKind.CLIENT,
    Kind.CONSUMER: trace.SpanKind.CONSUMER,
}


class _OpenSpan:
    """A span that is being recorded, or at least passed on."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        """As W3C Trace Context writes it, version 00."""
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, trace.set_span_in_context(self._span))
        return carrier["traceparent"]

    def rename(self, name: str) -> None:
        """Give it its name."""
        self._span.update_name(name)

    def tell(self, attributes: Attributes) -> None:
        """Add attributes."""
        self._span.set_attributes(attributes)

    def fail(self, code: str) -> None:
        """Set status and ``error.type``; never an exception's text, which may quote anything."""
        self._span.set_attribute("error.type", code)
        self._span.set_status(trace.Status(_FAILED))


class OpenTelemetry:
    """Makes spans of one process."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    @contextmanager
    def span(
        self,
        name: str,
        kind: Kind = Kind.INTERNAL,
        *,
        parent: str | None = None,
        begun_ns: int | None = None,
        attributes: Attributes | None = None,
    ) -> Iterator[Span]:
        """A span around what is done in the context."""
        with self._tracer.start_as_current_span(
            name,
            _context_of(parent),
            _KINDS[kind],
            attributes,
            start_time=begun_ns,
            record_exception=False,
            set_status_on_exception=False,
        ) as started:
            opened = _OpenSpan(started)
            try:
                yield opened
            except BaseException as error:
                opened.fail(error.code if isinstance(error, PixelflowError) else type(error).__name__)
                raise

    def past(
        self,
        name: str,
        *,
        begun_ns: int,
        ended_ns: int,
        parent: str | None = None,
        attributes: Attributes | None = None,
    ) -> None:
        """A span that has ended already."""
        span = self._tracer.start_span(name, _context_of(parent), attributes=attributes, start_time=begun_ns)
        span.end(ended_ns)


_PROPAGATOR = TraceContextTextMapPropagator()


def _context_of(traceparent: str | None) -> Context | None:
    """``None`` is the context that we are in."""
    return None if traceparent is None else _PROPAGATOR.extract({"traceparent": traceparent}, Context())


@contextmanager
def exporting(exporter: Exporter, *, role: str) -> Iterator[Tracer]:
    """Make spans and send them, in the background and by the batch.

    Raises:
        SettingsError: the SDK can't do what the variables ask for.
    """
    _forget_empty_variables()
    try:
        provider = TracerProvider(resource=_resource(role), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(watched(_open(exporter))))
    except (ValueError, RuntimeError) as error:
        raise SettingsError(f"Traces can't be made as the OTEL_… variables ask: {error}") from error
    try:
        yield OpenTelemetry(provider.get_tracer("pixelflow", __version__))
    finally:
        _shut_down(provider)


def _forget_empty_variables() -> None:
    """An empty one is none (OpenTelemetry's specification, «Environment variables»); the SDK complains of some."""
    for name in [name for name, value in os.environ.items() if name.startswith("OTEL_") and not value.strip()]:
        del os.environ[name]


def _open(exporter: Exporter) -> SpanExporter:
    return ConsoleSpanExporter(out=sys.stdout) if exporter is Exporter.CONSOLE else OTLPSpanExporter()


def _resource(role: str) -> Resource:
    """What the variables say goes before what we say."""
    ours = {"service.name": f"pixelflow-{role}", "service.version": __version__, "pixelflow.role": role}
    return Resource.create({**ours, **OTELResourceDetector().detect().attributes})


def _shut_down(provider: TracerProvider) -> None:
    """Send the rest. In a thread, since a collector that hangs would hold us for as long as the SDK has patience."""
    thread = threading.Thread(target=provider.shutdown, name="traces-shutdown", daemon=True)
    thread.start()
    thread.join(GOODBYE_SECONDS)
