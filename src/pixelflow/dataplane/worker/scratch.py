"""Scratch folders for sources and outputs in progress: one per worker; those of dead workers are removed."""

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
    """Create a private folder below ``parent`` (default: the system's temporary folder) and remove it at the end.

    A killed worker can't remove its folder, but the kernel releases its lock; the next worker on the machine detects
    this and removes the folder.
    """
    home = parent or Path(tempfile.gettempdir())
    _remove_abandoned(home)
    new = Path(tempfile.mkdtemp(prefix="pixelflow-new-", dir=home))
    lock = os.open(new / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    # Other workers look for the final name, so the folder must be locked first.
    folder = new.rename(home / new.name.replace("pixelflow-new-", _PREFIX))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _remove_abandoned(home: Path) -> None:
    for folder in home.glob(f"{_PREFIX}*"):
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:  # being created, or not a worker's folder
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:  # its worker is alive
            continue
        finally:
            os.close(lock)
