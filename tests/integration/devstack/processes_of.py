"""Lists the running processes that belong to a home, read from ``/proc``."""

from __future__ import annotations

import time
from pathlib import Path


def processes_of(home: Path) -> list[str]:
    """Return the running processes whose working directory, command line, environment or open files are in ``home``."""
    return [
        process.name for process in Path("/proc").glob("[0-9]*") if _is_alive(process) and _belongs_to(process, home)
    ]


def wait_until_none(home: Path, seconds: float) -> list[str]:
    """Wait until no such process is left. Return those still running after ``seconds``."""
    deadline = time.monotonic() + seconds
    while (left := processes_of(home)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def _is_alive(process: Path) -> bool:
    # A zombie has no resources.
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
