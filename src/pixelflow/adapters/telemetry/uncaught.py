"""What nobody caught, and what Python itself would print, as lines of the log.

For a process that runs by itself: whoever reads its log by lines would else find tracebacks between them.
"""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType

import structlog

_log = structlog.get_logger(__name__)


def log_uncaught() -> None:
    """Have exceptions that end the process or a thread, those that can't be raised, and warnings logged.

    Those of tasks that nobody waits for asyncio logs itself.
    """
    logging.captureWarnings(capture=True)
    sys.excepthook = _end_of_process
    threading.excepthook = _end_of_thread
    sys.unraisablehook = _nowhere_to_raise


def _end_of_process(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    _log.critical("uncaught exception: the process ends", exc_info=(kind, error, trace))


def _end_of_thread(told: threading.ExceptHookArgs) -> None:
    if told.exc_value is None or isinstance(told.exc_value, SystemExit):
        return
    thread = told.thread.name if told.thread else None
    exc_info = (told.exc_type, told.exc_value, told.exc_traceback)
    _log.critical("uncaught exception: a thread ends", thread=thread, exc_info=exc_info)


def _nowhere_to_raise(told: sys.UnraisableHookArgs) -> None:
    reason = told.err_msg or "exception ignored"
    exc_info = (told.exc_type, told.exc_value, told.exc_traceback) if told.exc_value else None
    _log.error("exception that could not be raised", reason=reason, exc_info=exc_info)
