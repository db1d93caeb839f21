"""Multipart uploads: the requests about them that the service makes itself, none of which has content of a file.

The parts are sent by clients, through presigned URLs. Errors never contain a URL, a header or the server's text.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from html import unescape
from urllib.parse import quote, urlencode, urlsplit
from xml.sax.saxutils import escape

from pixelflow.adapters.storage.connections import Connection, ConnectionPool
from pixelflow.adapters.storage.signatures import NoAccessKeyError, Signer
from pixelflow.errors import ObjectsUnavailableError

MIN_PART_BYTES = 8 * 1024 * 1024
"""S3 requires 5 MiB of all parts but the last."""
MAX_PARTS = 100
"""So that a response with a URL for each part stays small, and one request lists all parts."""
_STEP_BYTES = 1024 * 1024
_ANSWER_SECONDS = 5.0
_COMPLETION_SECONDS = 20.0
"""The server joins the parts."""
_ATTEMPTS = 2
_THREADS = 8
_MAX_ANSWER_BYTES = 256 * 1024
_FIRST_SERVER_ERROR = 500
_UPLOAD_ID = re.compile(r"<UploadId>([^<]{1,2048})</UploadId>")
_PART = re.compile(r"<Part>(.{1,4096}?)</Part>", re.DOTALL)
_FIELD = re.compile(r"<(PartNumber|ETag|Size)>([^<]{1,256})</\1>")
_CODE = re.compile(r"<Code>([A-Za-z]{1,64})</Code>")


@dataclass(frozen=True)
class StoredPart:
    """A part that has arrived."""

    etag: str
    bytes: int


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    query: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    """Longest time without a byte in either direction."""


class NoSuchUploadError(Exception):
    """The upload was completed or aborted."""


class PartsChangedError(Exception):
    """The server refuses to complete the upload with these parts: another request has replaced one, or completes it."""


def part_sizes(content_length: int) -> list[int]:
    """Return the sizes of the parts of a file, all equal but the last: at least 8 MiB, in at most ``MAX_PARTS``."""
    steps = -(-content_length // (MAX_PARTS * _STEP_BYTES))
    size = max(MIN_PART_BYTES, steps * _STEP_BYTES)
    full, rest = divmod(content_length, size)
    return [size] * full + ([rest] if rest else [])


class MultipartUploads:
    """The multipart uploads of one bucket. Requests are made in threads of its own."""

    def __init__(self, endpoint: str, *, root: str, signer: Signer, headers: Mapping[str, str]) -> None:
        """Does not connect yet.

        Args:
            endpoint: of the server.
            root: what the path of an object has before its key, such as ``/bucket/``.
            signer: for the same endpoint.
            headers: by which the bucket's rules demand encryption.
        """
        self._connections = ConnectionPool(endpoint)
        self._endpoint_path = urlsplit(endpoint).path
        self._root = root
        self._signer = signer
        self._headers = headers
        self._threads = ThreadPoolExecutor(_THREADS, "multipart")

    async def begin(self, key: str, *, content_type: str | None) -> str:
        """Return the ID of a new upload. A secret of the service: it is in the URLs of the parts, and in no log.

        Raises:
            ObjectsUnavailableError: the server does not answer.
        """
        headers = {**self._headers, **({"Content-Type": content_type} if content_type else {})}
        found = _UPLOAD_ID.search(await self._ask("POST", key, {"uploads": ""}, headers=headers))
        if found is None:
            raise _unavailable()
        return unescape(found[1])

    async def parts(self, key: str, upload_id: str) -> dict[int, StoredPart]:
        """Return the parts that have arrived, by their numbers.

        Raises:
            NoSuchUploadError: the upload was completed or aborted.
            ObjectsUnavailableError: the server does not answer.
        """
        return dict(map(_stored_part, _PART.findall(await self._ask("GET", key, {"uploadId": upload_id}))))

    async def complete(self, key: str, upload_id: str, parts: Mapping[int, StoredPart]) -> None:
        """Make an object of the parts.

        Raises:
            NoSuchUploadError: the upload was completed or aborted.
            PartsChangedError: a part was replaced meanwhile.
            ObjectsUnavailableError: the server does not answer.
        """
        listed = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(part.etag)}</ETag></Part>"
            for number, part in sorted(parts.items())
        )
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        answer = await self._ask("POST", key, {"uploadId": upload_id}, body=body, seconds=_COMPLETION_SECONDS)
        if "<Error>" in answer:  # S3 begins the response before it knows the result
            _raise_for(http.client.OK, answer)

    async def abort(self, key: str, upload_id: str) -> None:
        """Delete the parts that have arrived, and accept no more. Idempotent.

        Raises:
            ObjectsUnavailableError: the server does not answer.
        """
        with suppress(NoSuchUploadError):
            await self._ask("DELETE", key, {"uploadId": upload_id})

    def close(self) -> None:
        """Close idle connections."""
        self._threads.shutdown(wait=False)
        self._connections.close()

    async def _ask(
        self,
        method: str,
        key: str,
        query: Mapping[str, str],
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        seconds: float = _ANSWER_SECONDS,
    ) -> str:
        request = _Request(method, self._root + key, query, headers or {}, body, seconds)
        loop = asyncio.get_running_loop()
        for left in reversed(range(_ATTEMPTS)):
            try:
                status, answer = await loop.run_in_executor(self._threads, self._attempt, request)
            except NoAccessKeyError:
                raise _unavailable() from None
            except (OSError, http.client.HTTPException) as error:
                if not left:
                    raise _unavailable() from error
            else:
                if status < _FIRST_SERVER_ERROR or not left:
                    break
        if not http.client.OK <= status < http.client.MULTIPLE_CHOICES:
            _raise_for(status, answer)
        return answer

    def _attempt(self, request: _Request) -> tuple[int, str]:
        sha256 = hashlib.sha256(request.body).hexdigest()
        headers = {**request.headers, "Content-Length": str(len(request.body))}
        signed = self._signer.authorize(
            request.method, request.path, headers=headers, sha256=sha256, query=request.query
        )
        connection = self._connections.take()
        try:
            if connection.sock is None:
                connection.connect()
            connection.sock.settimeout(request.seconds)
            answer = self._exchange(connection, request, signed)
        except BaseException:
            connection.close()
            raise
        self._connections.keep(connection)
        return answer

    def _exchange(self, connection: Connection, request: _Request, headers: Mapping[str, str]) -> tuple[int, str]:
        target = f"{self._endpoint_path}{quote(request.path)}?{urlencode(request.query, quote_via=quote)}"
        connection.putrequest(request.method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": self._signer.host, **headers}.items():
            connection.putheader(name, value)
        connection.endheaders(request.body or None)
        response = connection.getresponse()
        answer = response.read(_MAX_ANSWER_BYTES)
        if response.read(1):
            raise http.client.HTTPException("too long")
        return response.status, answer.decode(errors="replace")


def _stored_part(xml: str) -> tuple[int, StoredPart]:
    fields = dict(_FIELD.findall(xml))
    return int(fields["PartNumber"]), StoredPart(unescape(fields["ETag"]), int(fields["Size"]))


def _raise_for(status: int, answer: str) -> None:
    code = found[1] if (found := _CODE.search(answer)) else ""
    if code == "NoSuchUpload":
        raise NoSuchUploadError
    if code in {"InvalidPart", "InvalidPartOrder", "EntityTooSmall"}:
        raise PartsChangedError
    raise _unavailable() from http.client.HTTPException(f"status {status} {code}")


def _unavailable() -> ObjectsUnavailableError:
    return ObjectsUnavailableError("Object storage is not available; try again shortly")
