"""Uploads and downloads through presigned URLs.

Never sends the API key to object storage. Never shows the signature of a URL.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from pixelflow.client.arguments import require, to_path
from pixelflow.client.errors import TransferError
from pixelflow.client.files import Content, File, file_of
from pixelflow.client.models import Operation, Request, Response
from pixelflow.client.partial_files import replacing
from pixelflow.client.retries import send
from pixelflow.client.session import USER_AGENT, Session
from pixelflow.contracts.jobs.responses import Output
from pixelflow.contracts.uploads import Upload, UploadPart

CHUNK_BYTES = 256 * 1024
_OK = 200

Progress = Callable[[int, int], None]
"""Called with the number of bytes transferred so far and the total."""
_Report = Callable[[int], None]


def upload(session: Session, upload: Upload, file: Content, *, on_progress: Progress | None = None) -> Operation[None]:
    """Upload ``file``, read in chunks; of an upload in parts, the parts that are missing. Idempotent.

    Args:
        session: of the client.
        upload: from the response of ``create_job``.
        file: path, bytes or open binary file of the source.
        on_progress: called with the bytes sent and the total; with ``AsyncClient``, from another thread.

    Raises:
        TransferError: the file can't be read, is too large, has another size than declared or was truncated meanwhile,
            or object storage rejected it.
        ConnectionFailedError: no response.
    """
    require(upload, Upload, "upload", "the `upload` of a created job")
    content = file_of(file)
    if upload.presigned_put_url is None and upload.multipart is None:
        raise TransferError("This job has no upload: its source is a local file")
    if content.size > upload.max_bytes:
        raise TransferError(f"{content.name} has {content.size} bytes; at most {upload.max_bytes} are allowed")
    if upload.content_length not in {None, content.size}:
        raise TransferError(
            f"{content.name} has {content.size} bytes; the upload was created for {upload.content_length}"
        )

    report = _report_to(on_progress, content.size)
    if upload.multipart is not None:
        yield from _put_parts(session, upload.multipart.parts, content, report)
    elif upload.presigned_put_url is not None:
        part = _Part(content, 0, content.size)
        yield from _put(session, upload.presigned_put_url, upload.headers, part, report)


@dataclass(frozen=True)
class _Part:
    """A range of a file."""

    file: File
    offset: int
    size: int


def _put_parts(session: Session, parts: Sequence[UploadPart], content: File, report: _Report) -> Operation[None]:
    """Upload the missing parts, one after the other; each is retried by itself."""
    sent = content.size - sum(part.content_length for part in parts)
    for each in parts:
        part = _Part(content, each.offset, each.content_length)
        yield from _put(session, each.url, {}, part, partial(_add, report, sent))
        sent += part.size


def _add(report: _Report, before: int, sent: int) -> None:
    report(before + sent)


def _put(session: Session, url: str, headers: Mapping[str, str], part: _Part, report: _Report) -> Operation[None]:
    def body() -> Iterator[bytes]:
        return _read_chunks(part, report)

    all_headers = {"User-Agent": USER_AGENT, "Content-Length": str(part.size), **headers}
    response = yield from send(session, Request("PUT", url, all_headers, body))
    if not response.succeeded:
        raise _storage_error("the upload", response)


def download(session: Session, output: Output, path: Path | str) -> Operation[Path]:
    """Download ``output`` to ``path`` atomically, after checking its size and hash. Replaces an existing file.

    Raises:
        TransferError: the output has no download URL, the content does not match the output, ``path`` can't be
            written, or object storage rejected the request.
        ConnectionFailedError: no response.
    """
    target = to_path(path)
    with _partial_file(target, output) as part:
        yield from _fetch(session, output, part)
    return target


def download_bytes(session: Session, output: Output) -> Operation[bytes]:
    """Return the content of ``output``, after checking its size and hash.

    Raises:
        TransferError: the output has no download URL, the content does not match the output, or object storage
            rejected the request.
        ConnectionFailedError: no response.
    """
    buffer = io.BytesIO()
    part = _PartialFile(buffer, output)
    yield from _fetch(session, output, part)
    part.check()
    return buffer.getvalue()


def _fetch(session: Session, output: Output, part: _PartialFile) -> Operation[None]:
    require(output, Output, "output", "an entry of `job.outputs`")
    if output.expired_at is not None:
        raise TransferError(f"Output {output.step_id} expired on {output.expired_at:%Y-%m-%d}")
    if output.download_url is None:
        raise TransferError(f"Output {output.step_id} is a local file on the worker: {output.object_key}")
    # No compression on the way: the hash is that of the stored bytes.
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    response = yield from send(session, Request("GET", output.download_url, headers, sink=part))
    if response.status != _OK:
        raise _storage_error("the download", response)


def _report_to(on_progress: Progress | None, total: int) -> _Report:
    return (lambda sent: on_progress(sent, total)) if on_progress else lambda _: None


def _read_chunks(part: _Part, report: _Report) -> Iterator[bytes]:
    sent = 0
    try:
        with part.file.open() as file:
            if part.offset:
                file.seek(part.offset, os.SEEK_CUR)
            while chunk := file.read(min(CHUNK_BYTES, part.size - sent)):
                yield chunk
                sent += len(chunk)
                report(sent)
    except OSError as error:
        raise TransferError(f"{part.file.name} can't be read: {error.strerror}") from error
    if sent < part.size:
        raise TransferError(f"{part.file.name} was truncated during the upload")


def _storage_error(what: str, response: Response) -> TransferError:
    # S3's errors are XML. Only the code is shown: the rest repeats the request and its signature.
    code = re.search(rb"<Code>([A-Za-z0-9.]{1,64})</Code>", response.body)
    reason = f" {code[1].decode()}" if code else ""
    hint = _HINTS.get(code[1].decode() if code else "", "")
    return TransferError(f"Object storage rejected {what}: {response.status}{reason}{hint}", status=response.status)


_HINTS = {
    "SignatureDoesNotMatch": "; the size, the type or another signed header differs from what was declared",
    "AccessDenied": "; the URL has expired, or a header was sent that is not signed",
    "BadDigest": "; the file does not have the declared hash",
    "MissingContentLength": "; the request had no Content-Length",
}
"""What a client can do about S3's errors; docs/upload-trouble.md has more."""


class _PartialFile:
    """A sink that writes, counts and hashes the bytes of an output."""

    def __init__(self, file: BinaryIO, output: Output) -> None:
        self._file = file
        self._output = output
        self.reset()

    def reset(self) -> None:
        """Truncate the file."""
        self._file.seek(0)
        self._file.truncate()
        self._hash = hashlib.sha256()
        self._bytes = 0

    def write(self, chunk: bytes) -> None:
        """Write the next chunk; raise a TransferError if the content is longer than the output."""
        self._bytes += len(chunk)
        if self._bytes > self._output.bytes:
            raise self._mismatch()
        self._hash.update(chunk)
        self._file.write(chunk)

    def check(self) -> None:
        """Raise a TransferError unless size and hash are those of the output."""
        if self._bytes != self._output.bytes or self._hash.hexdigest() != self._output.sha256:
            raise self._mismatch()

    def _mismatch(self) -> TransferError:
        return TransferError(f"The downloaded content does not match output {self._output.step_id}")


@contextmanager
def _partial_file(target: Path, output: Output) -> Iterator[_PartialFile]:
    """A temporary file in the directory of ``target``, which it replaces once it is complete and checked."""
    try:
        with replacing(target) as file:
            part = _PartialFile(file, output)
            yield part
            part.check()
    except OSError as error:
        raise TransferError(f"{target} can't be written: {error.strerror}") from error
