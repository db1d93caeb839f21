"""Finds the running processes of a home in ``/proc``."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tests.support.waiting import eventually


def processes_of(home: Path) -> list[str]:
    """IDs of running processes whose working directory, command line, environment or open files lie in ``home``."""
    return [process.name for process in Path("/proc").glob("[0-9]*") if _runs(process) and _belongs_to(process, home)]


def wait_until_none(home: Path, seconds: float) -> list[str]:
    """Poll until no process of ``home`` runs; returns those that run after ``seconds`` of a fast machine."""
    with contextlib.suppress(AssertionError):
        eventually(lambda: not processes_of(home), seconds)
    return processes_of(home)


def _runs(process: Path) -> bool:
    # A zombie holds nothing: its new parent has not waited for it yet.
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _belongs_to(process: Path, home: Path) -> bool:
    needle = str(home)
    try:
        text = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        links = [process / "cwd", *(process / "fd").iterdir()]
        return needle.encode() in text or any(str(link.readlink()).startswith(needle) for link in links)
    except OSError:
        return False
