"""Object storage (S3): signs the URLs that clients use, and transfers files for the worker.

Object keys are made here and nowhere else; never uses a name that comes from a client.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import quote, urlencode
from uuid import UUID

import obstore
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from obstore import exceptions
from obstore.store import S3Store

from pixelflow.contracts.errors import ObjectsUnavailableError, SourceGoneError, SourceOverLimitError
from pixelflow.settings import Settings

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import ClientConfig, RetryConfig  # exist for type checkers only

_CHUNK = 1024 * 1024
_METADATA_SECONDS = 5
"""Timeout of a request without a body, including its retry: a client waits for the result."""
_READ_SECONDS = 60
"""How long a transfer may stall; a part of an upload (5 MiB) must complete within this time."""
_MIN_BYTES_PER_SECOND = 250_000
"""Slower transfers are aborted."""


def source_key(job_id: UUID) -> str:
    """Return the key to which the client uploads the source of a job."""
    return f"uploads/{job_id}/source"


def _attempt_folder(job_id: UUID, attempt: int) -> str:
    return f"outputs/{job_id}/{attempt}"


@dataclass(frozen=True)
class SignedUrl:
    """A presigned URL: a credential for one request, until it expires. Not shown in its ``repr``."""

    url: str
    headers: Mapping[str, str]
    """Signed: the client must send exactly these."""
    expires_at: datetime

    def __repr__(self) -> str:
        return f"SignedUrl(expires_at={self.expires_at.isoformat()})"


class ObjectStorage:
    """A bucket."""

    def __init__(self, settings: Settings) -> None:
        self._credentials = Credentials(settings.s3_access_key_id, settings.s3_secret_access_key.get_secret_value())
        self._region = settings.s3_region
        self._public_root = f"{settings.public_endpoint_url}/{settings.s3_bucket}"
        metadata, read = timedelta(seconds=_METADATA_SECONDS), timedelta(seconds=_READ_SECONDS)
        whole = read + timedelta(seconds=settings.max_source_bytes / _MIN_BYTES_PER_SECOND)
        self._metadata_store = _open(
            settings,
            {"connect_timeout": metadata, "timeout": metadata},
            {"max_retries": 1, "retry_timeout": metadata / 2},
        )
        self._transfer_store = _open(
            settings,
            {"connect_timeout": timedelta(seconds=5), "read_timeout": read, "timeout": whole},
            {"max_retries": 2, "retry_timeout": timedelta(seconds=10)},
        )

    # ── For clients ──────────────────────────────────────────────────────────────────────────────

    def sign_upload(self, key: str, *, content_length: int | None, content_type: str | None, seconds: int) -> SignedUrl:
        """Return a URL for a PUT of ``key``. Declared values are signed, so that uploads must match them."""
        headers = {
            name: value
            for name, value in (
                ("Content-Length", str(content_length) if content_length is not None else None),
                ("Content-Type", content_type),
            )
            if value is not None
        }
        return self._sign("PUT", key, headers=headers, query={}, seconds=seconds)

    def sign_download(self, key: str, *, media_type: str, file_name: str, seconds: int) -> SignedUrl:
        """Return a URL for a GET of ``key``; the response has the given type and file name, not the stored ones."""
        query = {
            "response-content-disposition": f'inline; filename="{file_name}"',
            "response-content-type": media_type,
        }
        return self._sign("GET", key, headers={}, query=query, seconds=seconds)

    def _sign(
        self, method: str, key: str, *, headers: dict[str, str], query: dict[str, str], seconds: int
    ) -> SignedUrl:
        url = f"{self._public_root}/{quote(key)}" + (f"?{urlencode(query, quote_via=quote)}" if query else "")
        request = AWSRequest(method=method, url=url, headers=headers)
        S3SigV4QueryAuth(self._credentials, "s3", self._region, expires=seconds).add_auth(request)
        return SignedUrl(request.url, headers, datetime.now(UTC) + timedelta(seconds=seconds))

    # ── For the API ──────────────────────────────────────────────────────────────────────────────

    async def size_of(self, key: str) -> int | None:
        """Return the size of the object in bytes, or ``None`` if it does not exist.

        Raises:
            ObjectsUnavailableError: the server does not answer.
        """
        with _mapped_errors():
            try:
                meta = await obstore.head_async(self._metadata_store, key)
            except FileNotFoundError:
                return None
        return meta["size"]

    async def ping(self) -> None:
        """Check the server, the credentials and the bucket.

        Lists an empty prefix: a HEAD request does not distinguish a missing bucket from a missing object.

        Raises:
            ObjectsUnavailableError: the server does not answer, denies access or has no such bucket.
        """
        with _mapped_errors():
            async for _ in obstore.list(self._metadata_store, "uploads/ping"):
                break

    # ── For retention ────────────────────────────────────────────────────────────────────────────

    async def remove_job(self, job_id: UUID) -> int:
        """Delete the source and the outputs of all attempts of a job; returns the number of objects. Idempotent.

        Raises:
            ObjectsUnavailableError: the server does not answer; call again to delete the rest.
        """
        return sum([await self._remove_folder(f"{root}/{job_id}") for root in ("uploads", "outputs")])

    async def remove_attempt(self, job_id: UUID, attempt: int) -> int:
        """Delete the outputs of an attempt; returns the number of objects. Idempotent.

        Raises:
            ObjectsUnavailableError: the server does not answer; call again to delete the rest.
        """
        return await self._remove_folder(_attempt_folder(job_id, attempt))

    async def remove(self, keys: Sequence[str]) -> None:
        """Delete these objects; missing ones are ignored.

        Raises:
            ObjectsUnavailableError: the server does not answer; some objects may remain.
        """
        with _mapped_errors():
            await obstore.delete_async(self._metadata_store, list(keys))

    async def _remove_folder(self, folder: str) -> int:
        removed = 0
        with _mapped_errors():
            async for batch in obstore.list(self._metadata_store, folder):
                await obstore.delete_async(self._metadata_store, [meta["path"] for meta in batch])
                removed += len(batch)
        return removed

    # ── For the worker ───────────────────────────────────────────────────────────────────────────

    def output_prefix(self, source: str, job_id: UUID, attempt: int) -> str:  # noqa: ARG002  # part of the common interface
        """Return the key prefix of an attempt's outputs; unique, so that attempts can't overwrite each other's."""
        return _attempt_folder(job_id, attempt)

    def fetch(self, key: str, destination: Path, *, max_bytes: int) -> tuple[int, str]:
        """Copy an object to a new file; returns its size in bytes and its SHA-256 (hex).

        Raises:
            SourceGoneError: the object does not exist.
            SourceOverLimitError: the object is larger than ``max_bytes``.
            ObjectsUnavailableError: the server does not answer.
            OSError: the file can't be written.
        """
        with _mapped_errors():
            try:
                result = obstore.get(self._transfer_store, key)
            except FileNotFoundError as error:
                raise SourceGoneError("The source is no longer in object storage; create a new job") from error
        if result.meta["size"] > max_bytes:
            raise SourceOverLimitError(f"The source has {result.meta['size']} bytes; the limit is {max_bytes}")
        return _write_hashed(_chunks(result), destination)

    def store(self, file: IO[bytes], key: str, *, media_type: str) -> None:
        """Store an open file as the object ``key``, atomically.

        Raises:
            ObjectsUnavailableError: the server does not answer.
        """
        with _mapped_errors():
            obstore.put(self._transfer_store, key, file, attributes={"Content-Type": media_type})


def _open(settings: Settings, client: ClientConfig, retries: RetryConfig) -> S3Store:
    return S3Store(
        settings.s3_bucket,
        endpoint=settings.s3_endpoint_url,
        region=settings.s3_region,
        access_key_id=settings.s3_access_key_id,
        secret_access_key=settings.s3_secret_access_key.get_secret_value(),
        virtual_hosted_style_request=False,
        client_options={"allow_http": settings.s3_endpoint_url.startswith("http://"), **client},
        retry_config=retries,
    )


def _chunks(result: GetResult) -> Iterator[bytes]:
    """Yield the body in chunks. Errors of the consumer are not mapped: they are not storage errors."""
    with _mapped_errors():
        yield from result.stream(min_chunk_size=_CHUNK)


def _write_hashed(chunks: Iterator[bytes], destination: Path) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with destination.open("xb") as file:
        for chunk in chunks:
            view = memoryview(chunk)
            digest.update(view)
            size += file.write(view)
    return size, digest.hexdigest()


@contextmanager
def _mapped_errors() -> Iterator[None]:
    """Map the errors of obstore to those of PixelFlow, without their texts, which may contain presigned URLs."""
    try:
        yield
    except (exceptions.BaseError, OSError) as error:
        raise ObjectsUnavailableError("Object storage is not available; try again shortly") from error
