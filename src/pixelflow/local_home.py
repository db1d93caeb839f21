"""The home of ``pixelflow up`` as other programs of its user see it: where it is, and whether a stack runs in it.

Must import nothing but the standard library: the client and the dev stack share it. It never opens or changes a home.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

HOME_VARIABLE = "PIXELFLOW_HOME"
CREDENTIALS = "credentials.json"
"""URL of the API and an API key, for clients on this machine."""
LOCK = "lock"


def find_home() -> Path:
    """Return the home that ``PIXELFLOW_HOME`` names, or the default one."""
    return Path(os.environ.get(HOME_VARIABLE) or default_home())


def default_home() -> Path:
    """Return the default home: ``/var/lib/pixelflow`` for root, else a folder of the user's XDG data directory.

    The user that the servers run as can't enter root's home directory. The data directory follows the XDG Base
    Directory Specification 0.8.
    """
    if sys.platform != "win32" and os.geteuid() == 0:
        return Path("/var/lib/pixelflow")
    data = Path(os.environ.get("XDG_DATA_HOME") or "")
    return (data if data.is_absolute() else Path.home() / ".local" / "share") / "pixelflow"


def is_running(home: Path) -> bool:
    """Return whether a stack is running in this home, without opening it.

    Raises:
        OSError: the lock file can't be read.
    """
    try:
        with (home / LOCK).open("rb") as lock:
            # An orderly shutdown leaves the file empty, so the lock is tried only after a kill, and released at once.
            return lock.read(1) != b"" and _is_locked(lock.fileno())
    except FileNotFoundError:
        return False


def not_running_message(home: Path) -> str:
    """Return the error message for a program that needs a running stack."""
    return f"PixelFlow is not running in {home}. Start it with `pixelflow up --home {shlex.quote(str(home))}`"


def _is_locked(descriptor: int) -> bool:
    import fcntl  # noqa: PLC0415 - Windows, where no stack runs, does not have it

    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
