"""Which living processes belong to a home, as the kernel tells."""

from __future__ import annotations

import time
from pathlib import Path


def processes_of(home: Path) -> list[str]:
    """Living processes whose working directory, command line, environment or open files lie in ``home``."""
    return [process.name for process in Path("/proc").glob("[0-9]*") if _lives(process) and _belongs(process, home)]


def wait_until_none(home: Path, seconds: float) -> list[str]:
    """What is left of them when all are gone or the time is over."""
    deadline = time.monotonic() + seconds
    while (left := processes_of(home)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def _lives(process: Path) -> bool:
    # A dead process that its new parent has not waited for yet is a row in a table, and holds nothing.
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _belongs(process: Path, home: Path) -> bool:
    needle = str(home)
    try:
        told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        links = [process / "cwd", *(process / "fd").iterdir()]
        return needle.encode() in told or any(str(link.readlink()).startswith(needle) for link in links)
    except OSError:
        return False
