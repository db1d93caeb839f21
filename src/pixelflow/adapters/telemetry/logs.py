"""Structured logs.

They must never be given a secret, nor the query string of a presigned URL.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

import structlog

from pixelflow.settings import Settings

_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]

_OURS = "pixelflow"
"""What may log below ``info``. Libraries may not: botocore's debug lines hold the signature of each URL it signs."""


def configure_logs(settings: Settings, *, role: str) -> None:
    """Send every log line of this process, also those of libraries, to stderr in one form."""
    readable = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    renderer: Any = _console() if readable else structlog.processors.JSONRenderer()
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
                *([] if readable else [structlog.processors.format_exc_info]),
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    logging.getLogger(_OURS).setLevel(level)
    root.setLevel(max(level, logging.INFO))
    logging.getLogger("httpx").setLevel(max(level, logging.WARNING))  # tells at info each URL it asks, whole


def _console() -> structlog.dev.ConsoleRenderer:
    """Plain tracebacks: where Rich is installed the default shows every local variable, and with them secrets."""
    return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)


def _role_adder(role: str) -> Callable[[Any, str, dict[str, Any]], dict[str, Any]]:
    """Not a context variable: threads begin without those of the thread that started them."""

    def add(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401  # structlog's own signature
        return {"role": role, **event}

    return add
