"""Exit codes of ``pixelflow``. They are stable: a code must never change its meaning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum


class ExitCode(IntEnum):
    """The result of a command, for scripts and supervisors."""

    SUCCESS = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    TIMED_OUT = 5
    MISCONFIGURED = 78
    """EX_CONFIG of sysexits.h: a supervisor can recognize an error that a restart does not fix."""
    INTERRUPTED = 130
    """128 + SIGINT, the convention of shells. Typer exits with it by itself."""


MEANINGS = {
    ExitCode.SUCCESS: "success",
    ExitCode.FAILED: "a photo, a job or a server process failed",
    ExitCode.USAGE: "invalid command line or pipeline, nothing was sent",
    ExitCode.UNREACHABLE: "a server is unreachable or failing",
    ExitCode.REFUSED: "the API refused the request (key, scopes, limits, validation)",
    ExitCode.TIMED_OUT: "a job did not finish in time and is still running",
    ExitCode.MISCONFIGURED: "a setting is missing or invalid",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C",
}

SERVICE_MEANINGS = {
    ExitCode.SUCCESS: "success",
    ExitCode.FAILED: "the command failed",
    ExitCode.USAGE: "invalid command line",
    ExitCode.UNREACHABLE: "a server is unreachable or failing",
    ExitCode.MISCONFIGURED: "a setting is missing or invalid",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C",
}
"""For the commands that run or administer the service: they send no requests to the API."""

_WORST_FIRST = (
    ExitCode.MISCONFIGURED,
    ExitCode.USAGE,
    ExitCode.UNREACHABLE,
    ExitCode.REFUSED,
    ExitCode.TIMED_OUT,
    ExitCode.FAILED,
)


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """Return the exit code of a batch: an error that affects every item ranks above one that affects a single item."""
    found = set(codes)
    return next((code for code in _WORST_FIRST if code in found), ExitCode.SUCCESS)


def legend(meanings: Mapping[ExitCode, str] = MEANINGS) -> str:
    """Return one line with the exit codes of a command, for ``--help``."""
    return "Exit codes: " + "; ".join(f"{code.value} {meaning}" for code, meaning in meanings.items()) + "."
