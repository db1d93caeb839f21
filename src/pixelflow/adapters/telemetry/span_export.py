"""Export of spans by OpenTelemetry's SDK, which reads the standard ``OTEL_…`` variables: samplers, batches, endpoints.

Loaded only when traces are enabled. An unavailable collector must never slow a process down: spans are sent in the
background, and dropped when the queue is full.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult
from opentelemetry.trace import Tracer

from pixelflow import __version__
from pixelflow.adapters.telemetry.trace_settings import Exporter
from pixelflow.settings import SettingsError

SHUTDOWN_SECONDS = 2.0
"""For sending the remaining spans when the process ends."""
_EXPORTER_LOGGER = "opentelemetry.exporter"
_QUEUE_LOGGER = "opentelemetry.sdk._shared_internal"
_QUEUE_FULL_MESSAGE = "Queue full"

_log = structlog.get_logger(__name__)


@contextmanager
def open_tracer(exporter: Exporter, *, role: str) -> Iterator[Tracer]:
    """A tracer whose spans are sent in the background, in batches.

    Raises:
        SettingsError: the SDK does not accept the variables.
    """
    _unset_empty_variables()
    try:
        provider = TracerProvider(resource=_resource(role), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(_LoggedExporter(_exporter(exporter))))
    except (ValueError, RuntimeError) as error:
        raise SettingsError(f"The OTEL_… variables are not valid: {error}") from error
    try:
        yield provider.get_tracer("pixelflow", __version__)
    finally:
        _shut_down(provider)


def _unset_empty_variables() -> None:
    """The specification treats an empty variable as unset («Environment variables»); the SDK logs errors for some."""
    for name in [name for name, value in os.environ.items() if name.startswith("OTEL_") and not value.strip()]:
        del os.environ[name]


def _exporter(exporter: Exporter) -> SpanExporter:
    return ConsoleSpanExporter(out=sys.stdout) if exporter is Exporter.CONSOLE else OTLPSpanExporter()


def _resource(role: str) -> Resource:
    """The variables take precedence over our attributes."""
    ours = {"service.name": f"pixelflow-{role}", "service.version": __version__, "pixelflow.role": role}
    return Resource.create({**ours, **OTELResourceDetector().detect().attributes})


def _shut_down(provider: TracerProvider) -> None:
    """In a thread, since the SDK waits longer than we do for a collector that does not answer."""
    thread = threading.Thread(target=provider.shutdown, name="traces-shutdown", daemon=True)
    thread.start()
    thread.join(SHUTDOWN_SECONDS)


# ── Lost spans ───────────────────────────────────────────────────────────────────────────────────


class _LoggedExporter(SpanExporter):
    """Logs one line when spans begin to be lost and one when they are sent again.

    The SDK logs every attempt and every lost span, and quotes headers and URLs: its own lines never reach the log.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._failure, self._overflow = _FailureReason(), _OverflowCounter()
        self._losing = False
        exporters, queue = logging.getLogger(_EXPORTER_LOGGER), logging.getLogger(_QUEUE_LOGGER)
        exporters.handlers[:], exporters.propagate = [self._failure], False
        queue.filters[:] = [self._overflow, *(each for each in queue.filters if not isinstance(each, _OverflowCounter))]

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send the spans; those that can't be sent are dropped."""
        dropped, self._overflow.spans = self._overflow.spans, 0
        result = self._send(spans)
        if result is not SpanExportResult.SUCCESS:
            self._set_losing(self._failure.reason)
        elif dropped:
            self._set_losing("queue full")
        else:
            self._set_sending()
        return result

    def _send(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            return self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001  # such as a closed standard output
            self._failure.reason = type(error).__name__
            return SpanExportResult.FAILURE

    def _set_losing(self, reason: str) -> None:
        if not self._losing:
            self._losing = True
            _log.warning("spans dropped until the collector accepts them again", reason=reason)

    def _set_sending(self) -> None:
        if self._losing:
            self._losing = False
            _log.info("spans accepted again")

    def shutdown(self) -> None:
        """Stop sending."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send the spans in the queue."""
        return self._exporter.force_flush(timeout_millis)


class _FailureReason(logging.Handler):
    """Keeps why the exporter gave up: the status of a response, and nothing else, since the rest may quote a header."""

    reason = "failed"

    def emit(self, record: logging.LogRecord) -> None:
        arguments = record.args if isinstance(record.args, tuple) else ()
        statuses = [each for each in arguments if isinstance(each, int)]
        self.reason = f"status {statuses[0]}" if statuses else "no response"


class _OverflowCounter(logging.Filter):
    """Counts spans dropped by a full queue, in place of a line for each."""

    spans = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if not str(record.msg).startswith(_QUEUE_FULL_MESSAGE):
            return True
        self.spans += 1
        return False
