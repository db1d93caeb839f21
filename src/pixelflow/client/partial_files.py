"""Files that replace others once they are complete, and what is left of them when their process is killed.

A process that writes such a file locks it (flock(2)), and the lock ends with the process. Must never remove a file of
another name, or one that is locked.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows: nothing is locked, and nothing is removed
    fcntl = None  # type: ignore[assignment]

_PREFIX, _SUFFIX = ".pixelflow-", ".part"
_RANDOM_BYTES = 16


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """A new file in the directory of ``target``, which it replaces at the end; after an error, it is removed.

    Raises:
        OSError: a file can't be written.
    """
    path, file = _create(target.parent)
    try:
        with _kept_lock(file):
            with file:
                yield file
            path.replace(target)
    finally:
        file.close()
        path.unlink(missing_ok=True)


def remove_abandoned(folder: Path) -> None:
    """Remove the files in ``folder`` that :func:`replacing` began in a process that was killed."""
    with suppress(OSError):
        for path in folder.glob(f"{_PREFIX}{'[0-9a-f]' * 2 * _RANDOM_BYTES}{_SUFFIX}"):
            with suppress(OSError):
                _remove_unless_locked(path)


def _create(folder: Path) -> tuple[Path, BinaryIO]:
    while True:
        path = folder / f"{_PREFIX}{secrets.token_hex(_RANDOM_BYTES)}{_SUFFIX}"
        file = path.open("xb")
        if fcntl is not None:
            with suppress(OSError):  # a file system without locks: then nobody removes the file either
                fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists():
            return path, file
        file.close()  # somebody removed it before it was locked


@contextmanager
def _kept_lock(file: BinaryIO) -> Iterator[None]:
    """Keep the lock when the file is closed, until it has its name."""
    if fcntl is None:
        yield
        return
    descriptor = os.dup(file.fileno())
    try:
        yield
    finally:
        os.close(descriptor)


def _remove_unless_locked(path: Path) -> None:
    if fcntl is None:
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    finally:
        os.close(descriptor)
