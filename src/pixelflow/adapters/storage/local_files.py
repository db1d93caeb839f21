"""Files under the roots that an operator allows, for jobs whose source is ``local_file``. Off where there are no roots.

A path is followed to its end before it is judged, and judged again once it is open: a link that is changed in between
leads nowhere. Only regular files are read, and nothing that exists is overwritten.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO
from uuid import UUID

from pixelflow.contracts.errors import LocalFilesDisabledError, SourceGoneError, SourceOverLimitError

OUTPUT_FOLDER = "pixelflow-outputs"
_CHUNK = 1024 * 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class LocalFiles:
    """The allowed roots."""

    def __init__(self, roots: tuple[Path, ...]) -> None:
        self._roots = roots

    def resolve(self, path: str) -> str:
        """The file that ``path`` leads to, links followed.

        Raises:
            LocalFilesDisabledError: it is not a readable regular file under a root. What bars the way is not said: a
                caller must not learn what lies outside.
        """
        with self._open(path) as file:
            real = _real_path(file)
        if not _is_text(real):
            raise _refused()
        return real

    def size_of(self, path: str) -> int | None:
        """Bytes of the file, or ``None`` if it is gone or no longer under a root."""
        try:
            with self._open(path) as file:
                return os.fstat(file.fileno()).st_size
        except LocalFilesDisabledError:
            return None

    def output_prefix(self, source: str, job_id: UUID, attempt: int) -> str:
        """Where an attempt writes its outputs: under the root of its source, a folder for each attempt."""
        return str(self._root_of(Path(source)) / OUTPUT_FOLDER / str(job_id) / str(attempt))

    def fetch(self, path: str, destination: Path, *, max_bytes: int) -> tuple[int, str]:
        """Copy a file, hashing it on the way; returns its bytes and SHA-256 (hex).

        Raises:
            SourceGoneError: it is no longer there, or no longer under a root.
            SourceOverLimitError: it is larger than ``max_bytes``.
        """
        digest, size = hashlib.sha256(), 0
        try:
            with self._open(path) as source, destination.open("xb") as copy:
                while chunk := source.read(_CHUNK):
                    size += copy.write(chunk)
                    digest.update(chunk)
                    if size > max_bytes:
                        raise SourceOverLimitError(
                            f"The source has more than {max_bytes} bytes, the most that is allowed"
                        )
        except LocalFilesDisabledError as error:
            raise SourceGoneError(
                "The source is no longer where it was, or no longer under an allowed folder"
            ) from error
        return size, digest.hexdigest()

    def remove_job(self, source: str, job_id: UUID) -> None:
        """Remove the outputs of all attempts of a job; the source is its owner's file, and stays."""
        self._remove(source, (OUTPUT_FOLDER, str(job_id)))

    def remove_attempt(self, source: str, job_id: UUID, attempt: int) -> int:
        """As ``remove_job``, of one attempt; returns how many files it had stored."""
        return self._remove(source, (OUTPUT_FOLDER, str(job_id), str(attempt)))

    def _remove(self, source: str, names: tuple[str, ...]) -> int:
        with suppress(LocalFilesDisabledError, OSError):  # the root is no longer allowed, or nothing is there
            with _entered(self._root_of(Path(source)), names[:-1], make=False) as folder:
                entries = _count(names[-1], folder)
                shutil.rmtree(names[-1], ignore_errors=True, dir_fd=folder)
            return entries
        return 0

    def store(self, file: IO[bytes], path: str, *, media_type: str) -> None:  # noqa: ARG002  # a file has no type
        """Write an output: whole, or not at all, and never over anything.

        Raises:
            LocalFilesDisabledError: it is not under a root.
            OSError: it can't be written, something is there already, or a folder on the way is a link.
        """
        target = Path(path)
        root = self._root_of(target)
        names = target.relative_to(root).parts
        if ".." in names:
            raise _refused()
        with _entered(root, names[:-1]) as folder:
            _write(file, names[-1], folder)

    @contextmanager
    def _open(self, path: str) -> Iterator[BinaryIO]:
        try:
            resolved = Path(path).resolve(strict=True)
            self._root_of(resolved)
            # O_NONBLOCK: a pipe or a device that took the file's place must not hold the caller.
            descriptor = os.open(resolved, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError, RuntimeError) as error:
            raise _refused() from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise _refused()
        with open(descriptor, "rb") as file:  # noqa: PTH123  # from a descriptor
            self._root_of(Path(_real_path(file)))
            yield file

    def _root_of(self, path: Path) -> Path:
        for root in self._roots:
            if path.is_relative_to(root):
                return root
        raise _refused()


@contextmanager
def _entered(root: Path, names: tuple[str, ...], *, make: bool = True) -> Iterator[int]:
    """The folder ``names`` below ``root``, held open; where it is missing it is made, or else not found.

    Gone step by step from one descriptor to the next, so that no link that is put in between leads elsewhere.
    """
    folder = os.open(root, _FOLDER)
    try:
        for name in names:
            if make:
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
        # A link, for a rename would replace what is there.
        os.link(partial, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    finally:
        os.unlink(partial, dir_fd=folder)


def _is_text(path: str) -> bool:
    """Whether a path can be kept and told: names on a disk may be any bytes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _real_path(file: BinaryIO) -> str:
    return str(Path(f"/proc/self/fd/{file.fileno()}").readlink())


def _refused() -> LocalFilesDisabledError:
    return LocalFilesDisabledError(
        "object_key must name a regular file under a folder that the operator allows for local files"
    )
