"""Files under the roots that an operator allows, for jobs whose source is ``local_file``. Disabled without roots.

A path is resolved before it is checked, and checked again after the file is open, so that a symbolic link that changes
in between has no effect. Once a job is created, its path contains no links: if one of its folders becomes a link, which
may lead to another user's folder, the file is no longer found. Reads only regular files, and never overwrites a file.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO
from urllib.parse import quote
from uuid import UUID

from pixelflow.adapters.storage.interrupts import Interrupts, Reserve, never, unlimited
from pixelflow.errors import (
    LocalFilesDisabledError,
    ObjectsUnavailableError,
    SourceGoneError,
    SourceOverLimitError,
)

OUTPUT_FOLDER = "pixelflow-outputs"
_CHUNK = 1024 * 1024
_MAX_NAME_BYTES = 255
_REFUSALS = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.EACCES,
    errno.EPERM,
    errno.ENAMETOOLONG,
    errno.ENXIO,  # a socket, or a device without a driver
    errno.ENODEV,
}
"""Errors because of the path. All others, such as EIO, ESTALE and EMFILE, are because of the disk or the process."""
_CONFLICTS = {errno.EEXIST, errno.ENOTDIR, errno.ELOOP}
"""Errors of a write because of what is at the path: a file, or a symbolic link."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class LocalFiles:
    """Reads and writes files under the allowed roots."""

    def __init__(self, roots: tuple[Path, ...], *, shared: bool = False) -> None:
        """``shared``: each user can use all files under the roots. Otherwise, those of :func:`user_folder` there."""
        self._roots = roots
        self._shared = shared

    def resolve(self, path: str, user_id: str) -> str:
        """Return the real path of a file, with symbolic links resolved.

        Raises:
            LocalFilesDisabledError: the path is not a readable regular file that the user can use. The error says which
                files are, and not why this one is not, so that callers can't probe the file system.
            ObjectsUnavailableError: the disk can't be read.
        """
        try:
            with self._open(path, with_links=True) as file:
                real = _real_path(file)
        except LocalFilesDisabledError as error:
            raise self._not_allowed(user_id) from error
        if not (_is_unicode(real) and self._is_allowed(Path(real), user_id)):
            raise self._not_allowed(user_id)
        return real

    def _not_allowed(self, user_id: str) -> LocalFilesDisabledError:
        """What a user can use. Depends on no path. Names no directory: all users of the service would see it."""
        file = "`object_key` must name a regular file"
        if not self._roots:
            detail = "Local files are disabled; the operator allows directories by PIXELFLOW_LOCAL_ROOTS"
        elif self._shared:
            detail = f"{file} under a directory that PIXELFLOW_LOCAL_ROOTS allows"
        elif folder := user_folder(user_id):
            detail = (
                f"{file} in ROOT/{folder}/, your folder in a directory ROOT that PIXELFLOW_LOCAL_ROOTS allows. "
                "Other files need PIXELFLOW_LOCAL_ACCESS=shared"
            )
        else:
            detail = "No folder can have your user ID as its name; local files need PIXELFLOW_LOCAL_ACCESS=shared"
        return LocalFilesDisabledError(detail)

    def _is_allowed(self, real: Path, user_id: str) -> bool:
        if self._shared:
            return True
        folder = user_folder(user_id)
        return folder is not None and real.is_relative_to(self._root_of(real) / folder)

    def size_of(self, path: str) -> int | None:
        """Return the size of the file in bytes, or ``None`` if it does not exist or is no longer under a root.

        Raises:
            ObjectsUnavailableError: the disk can't be read.
        """
        try:
            with self._open(path) as file:
                return os.fstat(file.fileno()).st_size
        except LocalFilesDisabledError:
            return None

    def output_prefix(self, source: str, job_id: UUID, attempt: int) -> str:
        """Return the folder of an attempt's outputs, under the root of its source."""
        return str(self._root_of(Path(source)) / OUTPUT_FOLDER / str(job_id) / str(attempt))

    def fetch(
        self,
        path: str,
        file: BinaryIO,
        *,
        max_bytes: int,
        version: str = "",  # noqa: ARG002  # the owner of the file may change it at any time
        reserve: Reserve = unlimited,
        interrupts: Interrupts = never,
    ) -> tuple[int, str]:
        """Copy a file into an empty, unbuffered file; returns its size in bytes and its SHA-256 (hex).

        Calls ``reserve`` with the size before it copies, and again if the file has grown; an error that it raises ends
        the transfer.

        Raises:
            SourceGoneError: the file does not exist, or is no longer under a root.
            SourceOverLimitError: the file is larger than ``max_bytes``.
            ObjectsUnavailableError: the disk can't be read, outputs can't be stored, the root is not mounted, or the
                transfer was ended.
            OSError: ``file`` can't be written, or the folder of outputs is a file or a symbolic link.
        """
        digest, size, ended = hashlib.sha256(), 0, threading.Event()
        try:
            with self._open(path) as source, interrupts(ended.set):
                self._require_outputs(Path(path))
                reserved = min(os.fstat(source.fileno()).st_size, max_bytes)
                reserve(reserved)
                while chunk := _read(source):
                    size += len(chunk)
                    if ended.is_set():
                        raise ObjectsUnavailableError("The transfer was ended")
                    if size > max_bytes:
                        raise SourceOverLimitError(f"The source has more than {max_bytes} bytes, which is the limit")
                    if size > reserved:
                        reserved = size
                        reserve(reserved)
                    _write_all(file, chunk)
                    digest.update(chunk)
        except LocalFilesDisabledError as error:
            self._require_mounted(Path(path))
            raise SourceGoneError(
                "The source file does not exist any more, or is no longer under an allowed folder"
            ) from error
        return size, digest.hexdigest()

    def remove_job(self, source: str, job_id: UUID) -> None:
        """Delete the outputs of all attempts of a job, but not the source, which is the owner's file."""
        self._remove(source, (OUTPUT_FOLDER, str(job_id)))

    def remove_attempt(self, source: str, job_id: UUID, attempt: int) -> int:
        """Delete the outputs of one attempt; returns the number of files."""
        return self._remove(source, (OUTPUT_FOLDER, str(job_id), str(attempt)))

    def _remove(self, source: str, names: tuple[str, ...]) -> int:
        with suppress(LocalFilesDisabledError, OSError):  # the root is no longer allowed, or the folder does not exist
            with _open_folder(self._root_of(Path(source)), names[:-1], create=False) as folder:
                entries = _count(names[-1], folder)
                shutil.rmtree(names[-1], ignore_errors=True, dir_fd=folder)
            return entries
        return 0

    def store(
        self,
        file: IO[bytes],
        path: str,
        *,
        media_type: str,  # noqa: ARG002  # part of the common interface
        sha256: str | None = None,  # noqa: ARG002
        interrupts: Interrupts = never,  # noqa: ARG002  # a file on a disk
    ) -> None:
        """Write an output atomically; never overwrites.

        Raises:
            LocalFilesDisabledError: the path is not under a root.
            ObjectsUnavailableError: the disk can't be written, or is full.
            OSError: the file exists, or a folder of the path is a symbolic link.
        """
        target = Path(path)
        root = self._root_of(target)
        names = target.relative_to(root).parts
        if ".." in names:
            raise _refused()
        with _unavailable_on_error(), _open_folder(root, names[:-1]) as folder:
            _write(file, names[-1], folder)

    @contextmanager
    def _open(self, path: str, *, with_links: bool = False) -> Iterator[BinaryIO]:
        try:
            resolved = Path(path).resolve(strict=True)
            self._root_of(resolved)
            if not (with_links or resolved == Path(path)):
                raise _refused()
            # O_NONBLOCK: a pipe or device that replaced the file must not block the caller.
            descriptor = os.open(resolved, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise (_refused() if error.errno in _REFUSALS else _unavailable()) from error
        except (ValueError, RuntimeError) as error:  # a null character, or a loop of links
            raise _refused() from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise _refused()
        with open(descriptor, "rb") as file:  # noqa: PTH123  # from a descriptor
            if Path(_real_path(file)) != resolved:
                raise _refused()
            yield file

    def _require_outputs(self, path: Path) -> None:
        """Check that outputs can be stored beside a source, so that few attempts transform it in vain.

        Creates the folder of outputs. A root that a worker has read from is therefore never empty while it is mounted.

        Raises:
            ObjectsUnavailableError: the folder is read-only, or its file system is full.
        """
        with _unavailable_on_error(), _open_folder(self._root_of(path), (OUTPUT_FOLDER,)) as folder:
            disk = os.fstatvfs(folder)
            # Some file systems report no sizes, or no inodes.
            is_full = (disk.f_blocks > 0 and disk.f_bavail == 0) or (disk.f_files > 0 and disk.f_favail == 0)
            if is_full or not os.access(".", os.W_OK | os.X_OK, dir_fd=folder):
                raise _unavailable()

    def _require_mounted(self, path: Path) -> None:
        """Check that the root of a path is there: if it is not mounted, it is missing or an empty folder.

        Raises:
            ObjectsUnavailableError: it is not.
        """
        for root in self._roots:
            if path.is_relative_to(root):
                try:
                    mounted = any(root.iterdir())
                except OSError as error:
                    raise _unavailable() from error
                if not mounted:
                    raise _unavailable()
                return

    def _root_of(self, path: Path) -> Path:
        for root in self._roots:
            if path.is_relative_to(root):
                return root
        raise _refused()


def user_folder(user_id: str) -> str | None:
    """Return the name of a user's folder in each root: the ID, percent-encoded; ``None``: the ID can't have one."""
    name = quote(user_id, safe="@")
    return None if name in {"", ".", "..", OUTPUT_FOLDER} or len(name) > _MAX_NAME_BYTES else name


@contextmanager
def _open_folder(root: Path, names: tuple[str, ...], *, create: bool = True) -> Iterator[int]:
    """Open the folder ``names`` below ``root``; missing folders are created, or raise ``FileNotFoundError``.

    Opens each folder relative to the descriptor of its parent, so that no symbolic link is followed.
    """
    folder = os.open(root, _FOLDER)
    try:
        for name in names:
            if create:
                with suppress(FileExistsError):
                    os.mkdir(name, dir_fd=folder)
            inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def _count(name: str, folder: int) -> int:
    inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    try:
        with os.scandir(inner) as entries:
            return sum(1 for _ in entries)
    finally:
        os.close(inner)


def _write(file: IO[bytes], name: str, folder: int) -> None:
    partial = f".{name}.partial"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        with open(descriptor, "wb") as copy:  # noqa: PTH123  # from a descriptor
            shutil.copyfileobj(file, copy, _CHUNK)
        # A hard link, because a rename would replace an existing file.
        os.link(partial, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    finally:
        os.unlink(partial, dir_fd=folder)


def _read(source: BinaryIO) -> bytes:
    try:
        return source.read(_CHUNK)
    except OSError as error:
        raise _unavailable() from error


def _write_all(file: BinaryIO, chunk: bytes) -> None:
    part = memoryview(chunk)
    while part:
        part = part[file.write(part) :]


def _is_unicode(path: str) -> bool:
    """Return whether a path can be stored and shown: file names may be arbitrary bytes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _real_path(file: BinaryIO) -> str:
    return str(Path(f"/proc/self/fd/{file.fileno()}").readlink())


@contextmanager
def _unavailable_on_error() -> Iterator[None]:
    """Raise ``ObjectsUnavailableError`` for errors of a write, except those because of what is at the path."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.errno in _CONFLICTS:
            raise
        raise _unavailable() from error


def _unavailable() -> ObjectsUnavailableError:
    return ObjectsUnavailableError("The folder of local files is not available; try again shortly")


def _refused() -> LocalFilesDisabledError:
    return LocalFilesDisabledError(
        "The path is not that of a regular file under a directory that PIXELFLOW_LOCAL_ROOTS allows"
    )
