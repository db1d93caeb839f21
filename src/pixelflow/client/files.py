"""What can be uploaded: the file at a path, bytes, or an open file. Each can be read again, as a retry does."""

from __future__ import annotations

import io
import mimetypes
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pixelflow.client.arguments import to_path
from pixelflow.client.errors import TransferError
from pixelflow.imaging.formats.registry import FORMATS

Content = os.PathLike[str] | str | bytes | bytearray | memoryview | BinaryIO
"""The path of a file, its bytes, or an open binary file that can seek, which is read from its position to its end."""


@dataclass(frozen=True, slots=True)
class File:
    """Content of a known size."""

    name: str
    """For people."""
    size: int
    """Bytes."""
    media_type: str | None
    """By the extension of the name; None if it is not known."""
    open: Callable[[], AbstractContextManager[BinaryIO]]
    """Opens it at its first byte."""

    @property
    def declared(self) -> dict[str, int | str]:
        """The ``source`` of a request."""
        return {"content_length": self.size} | ({"content_type": self.media_type} if self.media_type else {})


def file_of(content: Content) -> File:
    """Return the file that ``content`` stands for.

    Raises:
        TransferError: it is empty, or can't be read or, for an open file, read again.
        TypeError: it is neither a path, bytes nor an open binary file.
    """
    if isinstance(content, str | os.PathLike):
        return _at_path(to_path(content))
    if isinstance(content, bytes | bytearray | memoryview):
        data = bytes(content)
        return _not_empty(File("the given bytes", len(data), None, lambda: io.BytesIO(data)))
    if hasattr(content, "read") and hasattr(content, "seek"):
        return _open_file(content)
    raise TypeError(
        "`photo` must be the path of a file, its bytes, a binary file open for reading, a JobSource, UrlSource or "
        f"BucketSource, not {type(content).__name__}"
    )


def _at_path(path: Path) -> File:
    try:
        size = path.stat().st_size if path.is_file() else None
    except OSError as error:
        raise TransferError(f"{path} can't be read: {error.strerror}") from error
    if size is None:
        raise TransferError(f"{path} is not a file")
    return _not_empty(File(str(path), size, _media_type(path.name), lambda: path.open("rb")))


def _open_file(file: BinaryIO) -> File:
    given = getattr(file, "name", None)
    name = given if isinstance(given, str) else "the open file"
    if isinstance(file, io.TextIOBase):
        raise TypeError(f'{name} is open as text: open it with mode "rb"')
    try:
        start = file.tell()
        size = file.seek(0, os.SEEK_END) - start
        file.seek(start)
    except (OSError, ValueError) as error:
        raise TransferError(f"{name} can't be read again, which a retry needs: pass its bytes instead") from error

    @contextmanager
    def opened() -> Iterator[BinaryIO]:
        file.seek(start)
        yield file

    return _not_empty(File(name, size, _media_type(name), opened))


def _not_empty(file: File) -> File:
    if file.size <= 0:
        raise TransferError(f"{file.name} is empty")
    return file


def _media_types() -> mimetypes.MimeTypes:
    # The system's tables differ between machines, and those of older Pythons lack WebP and AVIF.
    types = mimetypes.MimeTypes()
    for format_ in FORMATS.values():
        types.add_type(format_.media_type, f".{format_.extension}")
    return types


_TYPES = _media_types()


def _media_type(name: str) -> str | None:
    media_type, encoding = _TYPES.guess_type(name)
    return None if encoding else media_type
