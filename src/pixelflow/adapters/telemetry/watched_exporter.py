"""An exporter of spans that says once when spans begin to be lost, and once when that is over.

The SDK tells of every try and every span, and quotes what it sent and where: its own lines are not let into the log.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

_OF_EXPORTERS = "opentelemetry.exporter"
_OF_THE_QUEUE = "opentelemetry.sdk._shared_internal"
_QUEUE_IS_FULL = "Queue full"

_log = structlog.get_logger(__name__)


def watched(exporter: SpanExporter) -> SpanExporter:
    """``exporter``, and the SDK's loggers bent to what is told here; the latest one counts."""
    last_words, overflow = _LastWords(), _Overflow()
    of_exporters, of_the_queue = logging.getLogger(_OF_EXPORTERS), logging.getLogger(_OF_THE_QUEUE)
    of_exporters.handlers[:], of_exporters.propagate = [last_words], False
    of_the_queue.filters[:] = [overflow, *(each for each in of_the_queue.filters if not isinstance(each, _Overflow))]
    return _WatchedExporter(exporter, last_words, overflow)


class _LastWords(logging.Handler):
    """Keeps why an exporter gave up: the status of an answer, and no word of the rest, which may quote a header."""

    reason = "failed"

    def emit(self, record: logging.LogRecord) -> None:
        arguments = record.args if isinstance(record.args, tuple) else ()
        statuses = [each for each in arguments if isinstance(each, int)]
        self.reason = f"status {statuses[0]}" if statuses else "no answer"


class _Overflow(logging.Filter):
    """Counts the spans that found the queue full, which is not said for each of them."""

    spans = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if not str(record.msg).startswith(_QUEUE_IS_FULL):
            return True
        self.spans += 1
        return False


class _WatchedExporter(SpanExporter):
    def __init__(self, exporter: SpanExporter, last_words: _LastWords, overflow: _Overflow) -> None:
        self._exporter = exporter
        self._last_words = last_words
        self._overflow = overflow
        self._losing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send them, or let them go."""
        overflown, self._overflow.spans = self._overflow.spans, 0
        result = self._sent(spans)
        if result is not SpanExportResult.SUCCESS:
            self._lose(self._last_words.reason)
        elif overflown:
            self._lose("more than it takes")
        else:
            self._be_well()
        return result

    def _sent(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            return self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001  # such as a standard output that was closed
            self._last_words.reason = type(error).__name__
            return SpanExportResult.FAILURE

    def _lose(self, reason: str) -> None:
        if not self._losing:
            self._losing = True
            _log.warning("traces are not taken by their collector; they are dropped until it is back", reason=reason)

    def _be_well(self) -> None:
        if self._losing:
            self._losing = False
            _log.info("traces are taken again")

    def shutdown(self) -> None:
        """Send nothing more."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what waits."""
        return self._exporter.force_flush(timeout_millis)
