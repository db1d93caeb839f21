"""Structured logs.

They must never be given a secret, nor the query string of a presigned URL; what comes in by a library's error all the
same is taken out at the end.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

from pixelflow.adapters.telemetry.redaction import redacted
from pixelflow.adapters.telemetry.uncaught import log_uncaught
from pixelflow.settings import Settings

_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]

_OURS = "pixelflow"
"""What may log below ``info``. Libraries may not: botocore's debug lines hold the signature of each URL it signs."""


def configure_logs(settings: Settings, *, role: str) -> None:
    """Send every log line of this process to stderr in one form: libraries' too, and what nobody caught."""
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
                *([_without_controls] if readable else []),
                _guarded(_console() if readable else structlog.processors.JSONRenderer()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    logging.getLogger(_OURS).setLevel(level)
    root.setLevel(max(level, logging.INFO))
    logging.getLogger("httpx").setLevel(max(level, logging.WARNING))  # tells at info each URL it asks, whole
    log_uncaught()


def _guarded(render: Processor) -> Callable[[Any, str, EventDict], str]:
    """On the line itself: whatever a value is, this is how it would be read."""

    def guarded(logger: Any, method: str, event: EventDict) -> str:  # noqa: ANN401  # structlog's own signature
        return redacted(str(render(logger, method, event)))

    return guarded


def _console() -> structlog.dev.ConsoleRenderer:
    """Plain tracebacks: where Rich is installed the default shows every local variable, and with them secrets."""
    return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)


def _without_controls(_logger: Any, _method: str, event: EventDict) -> EventDict:  # noqa: ANN401
    """A path that a stranger asks for must not move the cursor of a terminal. JSON escapes such characters itself."""
    return {key: _printable(value) if isinstance(value, str) else value for key, value in event.items()}


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in text)


def _role_adder(role: str) -> Processor:
    """Not a context variable: threads begin without those of the thread that started them."""

    def add(_logger: Any, _method: str, event: EventDict) -> EventDict:  # noqa: ANN401
        return {"role": role, **event}

    return add
