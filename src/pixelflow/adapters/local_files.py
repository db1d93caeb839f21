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
from typing import BinaryIO
from uuid import UUID

from pixelflow.contracts.problems import LocalFilesDisabledError, SourceGoneError, SourceOverLimitError

OUTPUT_FOLDER = "pixelflow-outputs"
_CHUNK = 1024 * 1024


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
            return _real_path(file)

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
        with suppress(LocalFilesDisabledError):  # the root is no longer allowed: nothing there is ours to touch
            shutil.rmtree(self._root_of(Path(source)) / OUTPUT_FOLDER / str(job_id), ignore_errors=True)

    def store(self, file: BinaryIO, path: str, *, media_type: str) -> None:  # noqa: ARG002  # a file has no type
        """Write an output: whole, or not at all."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        self._root_of(target.parent.resolve())
        partial = target.with_name(f".{target.name}.partial")
        with partial.open("xb") as copy:
            shutil.copyfileobj(file, copy, _CHUNK)
        partial.rename(target)

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


def _real_path(file: BinaryIO) -> str:
    return str(Path(f"/proc/self/fd/{file.fileno()}").readlink())


def _refused() -> LocalFilesDisabledError:
    return LocalFilesDisabledError(
        "object_key must name a regular file under a folder that the operator allows for local files"
    )
