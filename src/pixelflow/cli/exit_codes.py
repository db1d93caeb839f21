"""What a script learns from ``pixelflow`` by its exit code. Stable: a code never changes its meaning."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    TIMED_OUT = 5
    MISCONFIGURED = 78
    """EX_CONFIG of sysexits.h, so that a supervisor can tell what no restart will mend."""
    INTERRUPTED = 130
    """128 + SIGINT, as shells have it; raised by Typer itself."""


MEANINGS = {
    ExitCode.DONE: "all done",
    ExitCode.FAILED: "a photo, a job or a server process failed",
    ExitCode.USAGE: "the command line or the pipeline is wrong, nothing was sent",
    ExitCode.UNREACHABLE: "a server can't be reached or is not able to answer",
    ExitCode.REFUSED: "the API refused (key, rights, limits, request)",
    ExitCode.TIMED_OUT: "a job was not over in time and goes on",
    ExitCode.MISCONFIGURED: "a setting is missing or wrong",
    ExitCode.INTERRUPTED: "Ctrl-C",
}

_GRAVEST_FIRST = (
    ExitCode.MISCONFIGURED,
    ExitCode.USAGE,
    ExitCode.UNREACHABLE,
    ExitCode.REFUSED,
    ExitCode.TIMED_OUT,
    ExitCode.FAILED,
)


def gravest(codes: Iterable[ExitCode]) -> ExitCode:
    """The one code that speaks for several: what stands in the way of everything comes before what hit one photo."""
    found = set(codes)
    return next((code for code in _GRAVEST_FIRST if code in found), ExitCode.DONE)


def legend() -> str:
    """All codes, for ``--help``."""
    return "Exit codes: " + "; ".join(f"{code.value} {meaning}" for code, meaning in MEANINGS.items()) + "."
