"""What a check found, and the bound on how long a check may take."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import StrEnum
from queue import Empty, SimpleQueue
from typing import NamedTuple

from pixelflow.cli.exit_codes import ExitCode

MAX_SECONDS = 10.0
"""Limit of one check of a server. Resolving a name, for example, has no limit of its own."""


class FindingStatus(StrEnum):
    """Whether something is as it should be."""

    OK = "ok"
    ABSENT = "absent"
    """Not installed or not configured, which is right for an installation that does not use it."""
    WARNING = "warning"
    ERROR = "error"


class Finding(NamedTuple):
    """The result of one check."""

    name: str
    """What was checked."""
    status: FindingStatus
    detail: str
    advice: str | None = None
    """What to do about it."""
    exit_code: ExitCode = ExitCode.SUCCESS
    """Of the command, if this is an error."""


def ok(name: str, detail: str) -> Finding:
    """Return a finding that needs no action."""
    return Finding(name, FindingStatus.OK, detail)


def absent(name: str, detail: str, advice: str | None = None) -> Finding:
    """Return a finding about something that this installation may not need."""
    return Finding(name, FindingStatus.ABSENT, detail, advice)


def warning(name: str, detail: str, advice: str | None = None) -> Finding:
    """Return a finding that may need an action."""
    return Finding(name, FindingStatus.WARNING, detail, advice)


def error(name: str, detail: str, advice: str | None, exit_code: ExitCode = ExitCode.FAILED) -> Finding:
    """Return a finding that needs an action."""
    return Finding(name, FindingStatus.ERROR, detail, advice, exit_code)


Check = Callable[[], list[Finding]]


def within_limit(name: str, check: Check, seconds: float = MAX_SECONDS) -> list[Finding]:
    """Run a check of a server in a thread that ends with the process; report it if it takes too long or fails."""
    results: SimpleQueue[list[Finding]] = SimpleQueue()

    def run() -> None:
        try:
            results.put(check())
        except Exception as failure:  # noqa: BLE001 - a bug in one check must not hide the others
            results.put([error(name, f"could not be checked: {type(failure).__name__}", None)])

    threading.Thread(target=run, name=f"check {name}", daemon=True).start()
    try:
        return results.get(timeout=seconds)
    except Empty:
        return [error(name, f"did not answer within {seconds:g} s", "Check its address.", ExitCode.UNREACHABLE)]
