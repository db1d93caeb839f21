"""Structured logs: every line of a process in one form, also libraries' lines, warnings and uncaught exceptions.

Callers must never log a secret or the query of a presigned URL; secrets in library errors are redacted last.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

from pixelflow.adapters.telemetry.redaction import redact
from pixelflow.settings import Settings

_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]

_ROOT = "pixelflow"
"""The only logger that may log below ``info``: debug lines of HTTP libraries contain presigned URLs."""

_log = structlog.get_logger(__name__)


def configure_logs(settings: Settings, *, role: str) -> None:
    """Write every log line of this process to stderr, as JSON or, on a terminal, as readable text."""
    readable = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    shared = [_role_adder(role), *_SHARED]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                *([_escape_controls] if readable else []),
                _redacting(_console() if readable else structlog.processors.JSONRenderer()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    logging.getLogger(_ROOT).setLevel(level)
    root.setLevel(max(level, logging.INFO))
    logging.getLogger("httpx").setLevel(max(level, logging.WARNING))  # logs the whole URL of each request at info
    _omit_origins()
    _log_uncaught()


def _omit_origins() -> None:
    """No line names a thread, a process or the calling code: don't find them out (Logging HOWTO, "Optimization")."""
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001  # as documented


# ── Processors ───────────────────────────────────────────────────────────────────────────────────


def _redacting(render: Processor) -> Callable[[Any, str, EventDict], str]:
    """Redacts the rendered line, so that no value escapes by its type."""

    def redacting(logger: Any, method: str, event: EventDict) -> str:  # noqa: ANN401  # structlog's own signature
        return redact(str(render(logger, method, event)))

    return redacting


def _console() -> structlog.dev.ConsoleRenderer:
    """With plain tracebacks: with Rich installed, the default shows local variables, which may be secrets."""
    return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)


def _escape_controls(_logger: Any, _method: str, event: EventDict) -> EventDict:  # noqa: ANN401
    """A path that a client requests must not move a terminal's cursor. JSON escapes such characters itself."""
    return {key: _printable(value) if isinstance(value, str) else value for key, value in event.items()}


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in text)


def _role_adder(role: str) -> Processor:
    """Not a context variable: a thread does not inherit those of the thread that started it."""

    def add(_logger: Any, _method: str, event: EventDict) -> EventDict:  # noqa: ANN401
        return {"role": role, **event}

    return add


# ── Uncaught exceptions ──────────────────────────────────────────────────────────────────────────


def _log_uncaught() -> None:
    """Log what Python would print to stderr between the lines: uncaught and unraisable exceptions, and warnings.

    asyncio logs those of tasks that nobody awaits.
    """
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_process_exception
    threading.excepthook = _log_thread_exception
    sys.unraisablehook = _log_unraisable


def _log_process_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    _log.critical("uncaught exception: the process ends", exc_info=(kind, error, trace))


def _log_thread_exception(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or isinstance(args.exc_value, SystemExit):
        return
    thread = args.thread.name if args.thread else None
    exc_info = (args.exc_type, args.exc_value, args.exc_traceback)
    _log.critical("uncaught exception: a thread ends", thread=thread, exc_info=exc_info)


def _log_unraisable(args: sys.UnraisableHookArgs) -> None:
    reason = args.err_msg or "exception ignored"
    exc_info = (args.exc_type, args.exc_value, args.exc_traceback) if args.exc_value else None
    _log.error("unraisable exception", reason=reason, exc_info=exc_info)
