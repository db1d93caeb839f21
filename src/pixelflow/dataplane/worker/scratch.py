"""Where sources and outputs lie while they are worked on: one folder per worker; what dead workers left is removed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "pixelflow-worker-"
_LOCK = ".lock"


@contextmanager
def scratch_folder(parent: Path | None) -> Iterator[Path]:
    """A private folder below ``parent`` (default: the system's), gone at the end.

    A killed worker can't clean up; but its lock is gone with it, and the next worker on the machine sees that.
    """
    home = parent or Path(tempfile.gettempdir())
    _sweep(home)
    new = Path(tempfile.mkdtemp(prefix="pixelflow-new-", dir=home))
    lock = os.open(new / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    folder = new.rename(home / new.name.replace("pixelflow-new-", _PREFIX))  # seen by others only once it is locked
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _sweep(home: Path) -> None:
    for folder in home.glob(f"{_PREFIX}*"):
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:  # just being made, or not ours
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:  # its worker lives
            continue
        finally:
            os.close(lock)
