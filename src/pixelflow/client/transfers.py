"""Bytes to and from object storage, by presigned URL. Never sends the API key there, never shows what signs a URL."""

from __future__ import annotations

import hashlib
import mimetypes
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pixelflow.client.errors import TransferError
from pixelflow.client.exchange import Operation, Request, Response
from pixelflow.client.retries import send
from pixelflow.client.session import USER_AGENT, Session
from pixelflow.contracts.jobs import Output, Upload
from pixelflow.contracts.pipeline import EXTENSIONS, MEDIA_TYPES

CHUNK_BYTES = 256 * 1024
_OK = 200

Progress = Callable[[int, int], None]
"""Called with the bytes that went over so far and their total."""


def upload(
    session: Session, upload: Upload, file: Path | str, *, on_progress: Progress | None = None
) -> Operation[None]:
    """PUT ``file`` where ``upload`` says, read from disk piece by piece. Idempotent.

    Args:
        session: of the client.
        upload: as the creation of the job answered.
        file: path of the source.
        on_progress: called with the bytes sent and their total; with ``AsyncClient``, from another thread.

    Raises:
        TransferError: the file can't be read, has too many bytes or changed meanwhile, or object storage refused it.
        ConnectionFailedError: no answer.
    """
    path = Path(file)
    total = _size(path)
    if upload.presigned_put_url is None:
        raise TransferError("This job takes no upload")
    if total > upload.max_bytes:
        raise TransferError(f"{path} has {total} bytes; {upload.max_bytes} are allowed")

    def body() -> Iterator[bytes]:
        return _pieces(path, total, on_progress)

    headers = {"User-Agent": USER_AGENT, "Content-Length": str(total)} | upload.headers
    request = Request(upload.method, upload.presigned_put_url, headers, body)
    response = yield from send(session, request)
    if not response.succeeded:
        raise _refused("the upload", response)


def download(session: Session, output: Output, path: Path | str) -> Operation[Path]:
    """Write the file of ``output`` to ``path``, whole and checked or not at all; what was there is replaced.

    Raises:
        TransferError: there is nothing to download, other bytes came than the job made, ``path`` can't be written,
            or object storage refused.
        ConnectionFailedError: no answer.
    """
    target = Path(path)
    if output.expired_at is not None:
        raise TransferError(f"Output {output.step_id} has expired on {output.expired_at:%Y-%m-%d}: its time was over")
    if output.download_url is None:
        raise TransferError(f"Output {output.step_id} lies under a local root: {output.object_key}")
    with _part(target, output) as part:
        # Bytes as stored: a hash over what a proxy or a storage compressed on the way would not be that of the output.
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
        request = Request("GET", output.download_url, headers, sink=part)
        response = yield from send(session, request)
        if response.status != _OK:
            raise _refused("the download", response)
    return target


def declared_source(path: Path) -> dict[str, int | str]:
    """What a job's creation declares of the file at ``path``: its bytes and, where its name tells it, its media type.

    Raises:
        TransferError: it can't be read, or is empty.
    """
    declared: dict[str, int | str] = {"content_length": _size(path)}
    media_type, encoding = _TYPES.guess_type(path.name)
    if media_type and not encoding:
        declared["content_type"] = media_type
    return declared


def _media_types() -> mimetypes.MimeTypes:
    # Not the machine's own tables: they differ from place to place, and those of older Pythons lack webp and avif.
    types = mimetypes.MimeTypes()
    for format_, extension in EXTENSIONS.items():
        types.add_type(MEDIA_TYPES[format_], f".{extension}")
    return types


_TYPES = _media_types()


def _size(path: Path) -> int:
    try:
        size = path.stat().st_size if path.is_file() else None
    except OSError as error:
        raise TransferError(f"{path} can't be read: {error.strerror}") from error
    if size is None:
        raise TransferError(f"{path} is not a file")
    if size == 0:
        raise TransferError(f"{path} is empty")
    return size


def _pieces(path: Path, total: int, on_progress: Progress | None) -> Iterator[bytes]:
    sent = 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(min(CHUNK_BYTES, total - sent)):
                yield chunk
                sent += len(chunk)
                if on_progress:
                    on_progress(sent, total)
    except OSError as error:
        raise TransferError(f"{path} can't be read: {error.strerror}") from error
    if sent < total:
        raise TransferError(f"{path} became shorter while it was uploaded")


def _refused(what: str, response: Response) -> TransferError:
    # S3's errors are XML; of that only the code is shown, for the rest repeats the request and its signature.
    code = re.search(rb"<Code>([A-Za-z0-9.]{1,64})</Code>", response.body)
    reason = f" {code[1].decode()}" if code else ""
    return TransferError(f"Object storage refused {what}: {response.status}{reason}", status=response.status)


class _Part:
    """The bytes of an output as they come in, counted and hashed."""

    def __init__(self, file: BinaryIO, output: Output) -> None:
        self._file = file
        self._output = output
        self.begin()

    def begin(self) -> None:
        """Start over."""
        self._file.seek(0)
        self._file.truncate()
        self._hash = hashlib.sha256()
        self._bytes = 0

    def write(self, chunk: bytes) -> None:
        """Take the next piece; no more than the output has."""
        self._bytes += len(chunk)
        if self._bytes > self._output.bytes:
            raise self._differs()
        self._hash.update(chunk)
        self._file.write(chunk)

    def check(self) -> None:
        """See that all of it came, and nothing else."""
        if self._bytes != self._output.bytes or self._hash.hexdigest() != self._output.sha256:
            raise self._differs()

    def _differs(self) -> TransferError:
        return TransferError(f"The download of {self._output.step_id} brought other bytes than the job made")


@contextmanager
def _part(target: Path, output: Output) -> Iterator[_Part]:
    """A file in the making, beside ``target``; takes its place once it is whole and checked."""
    path = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with path.open("xb") as file:
            part = _Part(file, output)
            yield part
            part.check()
        path.replace(target)
    except OSError as error:
        raise TransferError(f"{target} can't be written: {error.strerror}") from error
    finally:
        path.unlink(missing_ok=True)
