"""Scratch folders for sources and outputs in progress: one per worker; those of dead workers are removed."""

from __future__ import annotations

import fcntl
import itertools
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pixelflow.settings import SettingsError

_PREFIX = "pixelflow-worker-"
_NEW = "pixelflow-new-"
_NEW_SECONDS = 60.0
"""Age from which a folder without its final name counts as abandoned. It gets that name within milliseconds."""
_LOCK = ".lock"


@contextmanager
def scratch_folder(parent: Path | None) -> Iterator[Path]:
    """Create a private folder below ``parent`` (default: the system's temporary folder) and remove it at the end.

    A killed worker can't remove its folder, but the kernel releases its lock; the next worker on the machine detects
    this and removes the folder.

    Raises:
        SettingsError: the parent is not an absolute path, does not exist, is not a folder or is not writable.
    """
    home = Path(tempfile.gettempdir()) if parent is None else _checked(parent)
    _remove_abandoned(home)
    try:
        new = Path(tempfile.mkdtemp(prefix=_NEW, dir=home))
    except OSError as error:
        raise _unusable(f"no folder can be created there ({error.strerror})") from error
    lock = os.open(new / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    # Other workers look for the final name, so the folder must be locked first.
    folder = new.rename(home / new.name.replace(_NEW, _PREFIX))
    try:
        yield folder
    finally:
        remove_tree(folder)
        os.close(lock)


def remove_tree(folder: Path) -> None:
    """Remove a folder and its contents as far as possible, however deep they are nested.

    A child that an image has taken over may nest folders beyond the recursion limit and the longest path. Each folder's
    folders are moved up to the top before it is removed, so that no path is longer than three names. The lock is the
    last file, so that the next worker continues what is interrupted.
    """
    with suppress(OSError):
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _empty(top)
        finally:
            os.close(top)
        folder.rmdir()


def _empty(top: int) -> None:
    names, moved = [name for name in _names_in(top) if name != _LOCK], itertools.count()
    run = os.urandom(8).hex()
    while names:
        name = names.pop()
        if not _is_folder(name, top):
            _unlink(name, top)
            continue
        with suppress(OSError):
            os.chmod(name, 0o700, dir_fd=top)
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
            try:
                for each in _names_in(inner):
                    if _is_folder(each, inner):
                        new_name = f".moved-{run}-{next(moved)}"
                        os.rename(each, new_name, src_dir_fd=inner, dst_dir_fd=top)
                        names.append(new_name)
                    else:
                        _unlink(each, inner)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=top)
    if _names_in(top) == [_LOCK]:
        _unlink(_LOCK, top)


def _names_in(folder: int) -> list[str]:
    return os.listdir(folder)  # accepts a descriptor


def _is_folder(name: str, folder: int) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _unlink(name: str, folder: int) -> None:
    with suppress(OSError):
        os.unlink(name, dir_fd=folder)


def _checked(parent: Path) -> Path:
    if not parent.is_absolute():
        raise _unusable("must be an absolute path")
    if not parent.is_dir():
        raise _unusable(f"{parent} must be an existing folder")
    return parent


def _unusable(reason: str) -> SettingsError:
    return SettingsError(f"PIXELFLOW_WORKER_TEMP_DIR is not valid: {reason}.")


def _remove_abandoned(home: Path) -> None:
    for folder in home.glob(f"{_PREFIX}*"):
        _remove_if_abandoned(folder)
    for folder in home.glob(f"{_NEW}*"):
        with suppress(OSError):
            if folder.stat().st_mtime < time.time() - _NEW_SECONDS:
                _remove_if_abandoned(folder)


def _remove_if_abandoned(folder: Path) -> None:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:  # its creation or removal was interrupted, or it is not a worker's folder
        with suppress(OSError):
            folder.rmdir()
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_tree(folder)
    except OSError:  # its worker is alive
        return
    finally:
        os.close(lock)
