"""Object storage (S3): signs the URLs that clients use, and transfers files for the worker.

Object keys are made here and nowhere else; never uses a name that comes from a client. Nobody else knows the prefix of
the settings: keys in the database, in messages and in responses are below it.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import IO, TYPE_CHECKING, BinaryIO, Literal
from uuid import UUID

import obstore
from obstore import exceptions
from obstore.store import S3Store

from pixelflow.adapters.storage.interrupts import Interrupts, Reserve, never, unlimited
from pixelflow.adapters.storage.multipart import MultipartUploads
from pixelflow.adapters.storage.request_form import address, checksum_headers, encryption_headers
from pixelflow.adapters.storage.signatures import AccessKey, KeySource, NoAccessKeyError, Signer, no_access_key
from pixelflow.adapters.storage.transfers import S3Transfers
from pixelflow.adapters.storage.versions import version_of
from pixelflow.errors import ObjectsUnavailableError, SourceChangedError
from pixelflow.settings import Settings

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Credential  # exist for type checkers only

_METADATA_SECONDS = 5
"""Timeout of a request without a body, including its retry: a client waits for the result."""

_DELETES_AT_ONCE = 10
"""Without bulk deletion."""


def source_key(job_id: UUID) -> str:
    """Return the key to which the client uploads the source of a job."""
    return f"uploads/{job_id}/source"


def asset_key(asset_id: UUID) -> str:
    """Return the key to which the client uploads an asset."""
    return f"assets/{asset_id}"


def _attempt_folder(job_id: UUID, attempt: int) -> str:
    return f"outputs/{job_id}/{attempt}"


@dataclass(frozen=True)
class SignedUrl:
    """A presigned URL: a credential for one request, until it expires. Not shown in its ``repr``."""

    url: str
    headers: Mapping[str, str]
    """Signed: the client must send exactly these, besides ``Content-Length``, which HTTP clients send by themselves."""
    expires_at: datetime

    def __repr__(self) -> str:
        return f"SignedUrl(expires_at={self.expires_at.isoformat()})"


@dataclass(frozen=True)
class StoredObject:
    """What storage knows of an object."""

    bytes: int
    version: str
    """Identifies the content: see :func:`version_of`."""


class ObjectStorage:
    """A bucket."""

    def __init__(self, settings: Settings, aws_keys: KeySource = no_access_key) -> None:
        """Does not connect yet.

        Args:
            settings: name the bucket, and have its access key unless AWS gives it.
            aws_keys: the access key that AWS gives the process.
        """
        self._keys = aws_keys if settings.s3_credentials == "aws" else _configured_key(settings)
        self._encryption = encryption_headers(settings.s3_sse, settings.s3_sse_kms_key_id)
        self._has_checksums = settings.s3_checksums
        self._deletes_in_bulk = settings.s3_bulk_delete
        bucket, addressing, region = settings.s3_bucket, settings.s3_addressing, settings.s3_region
        public_endpoint, folder = address(settings.public_endpoint_url, bucket, addressing)
        self._root = f"/{folder}/{settings.s3_prefix}" if folder else f"/{settings.s3_prefix}"
        self._for_clients = Signer(public_endpoint, region=region, credentials=self._keys)
        metadata = timedelta(seconds=_METADATA_SECONDS)
        self._metadata_store = _open(
            settings,
            self._keys,
            {"connect_timeout": metadata, "timeout": metadata},
            {"max_retries": 1, "retry_timeout": metadata / 2},
        )
        endpoint, _ = address(settings.s3_endpoint_url, bucket, addressing)
        own = Signer(endpoint, region=region, credentials=self._keys)
        self._transfers = S3Transfers(endpoint, root=self._root, signer=own)
        self.multipart = MultipartUploads(endpoint, root=self._root, signer=own, headers=self._encryption)
        """Uploads in parts, which :meth:`sign_part` signs."""

    # ── For clients ──────────────────────────────────────────────────────────────────────────────

    def sign_upload(
        self,
        key: str,
        *,
        content_length: int | None,
        content_type: str | None,
        sha256: str | None = None,
        seconds: int,
    ) -> SignedUrl:
        """Return a URL for a PUT of ``key``. Declared values are signed, so that uploads must match them."""
        headers = {**self._encryption, **checksum_headers(sha256)}
        if content_type is not None:
            headers["Content-Type"] = content_type
        length = {} if content_length is None else {"Content-Length": str(content_length)}
        url = self._sign("PUT", key, headers=headers | length, query={}, seconds=seconds)
        return dataclasses.replace(url, headers=headers)

    def sign_part(self, key: str, *, upload_id: str, number: int, content_length: int, seconds: int) -> SignedUrl:
        """Return a URL for a PUT of one part of a multipart upload. Its size is signed; it needs no headers."""
        query = {"partNumber": str(number), "uploadId": upload_id}
        length = {"Content-Length": str(content_length)}
        return dataclasses.replace(self._sign("PUT", key, headers=length, query=query, seconds=seconds), headers={})

    def sign_download(
        self,
        key: str,
        *,
        media_type: str | None,
        file_name: str,
        seconds: int,
        attachment: bool = False,
        method: Literal["GET", "HEAD"] = "GET",
    ) -> SignedUrl:
        """Return a URL for a GET of ``key``; the response has this file name, and this type or else the stored one.

        Browsers save an ``attachment`` and don't display it. A URL is signed for one ``method``.
        """
        disposition = "attachment" if attachment else "inline"
        query = {"response-content-disposition": f'{disposition}; filename="{file_name}"'}
        if media_type is not None:
            query["response-content-type"] = media_type
        return self._sign(method, key, headers={}, query=query, seconds=seconds)

    def _sign(
        self, method: str, key: str, *, headers: dict[str, str], query: dict[str, str], seconds: int
    ) -> SignedUrl:
        """S3 rejects a URL after the end of the session that signed it, so the URL is not given a longer life."""
        now = datetime.now(UTC)
        try:
            session_end = self._keys().expires_at
            if session_end is not None:
                seconds = max(1, min(seconds, int((session_end - now).total_seconds())))
            path = self._root + key
            url = self._for_clients.presign(method, path, headers=headers, query=query, seconds=seconds, now=now)
        except NoAccessKeyError:
            raise _unavailable() from None
        return SignedUrl(url, headers, now + timedelta(seconds=seconds))

    # ── For the API ──────────────────────────────────────────────────────────────────────────────

    async def find(self, key: str) -> StoredObject | None:
        """Return the size and the version of the object, or ``None`` if it does not exist.

        Raises:
            ObjectsUnavailableError: the server does not answer.
        """
        with _mapped_errors():
            try:
                meta = await obstore.head_async(self._metadata_store, key)
            except FileNotFoundError:
                return None
        return StoredObject(meta["size"], version_of(meta["e_tag"], meta["last_modified"]))

    async def size_of(self, key: str) -> int | None:
        """Return the size of the object in bytes, or ``None`` if it does not exist; as :meth:`find`."""
        found = await self.find(key)
        return None if found is None else found.bytes

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
            await self._delete(list(keys))

    async def _delete(self, keys: list[str]) -> None:
        if self._deletes_in_bulk:
            await obstore.delete_async(self._metadata_store, keys)
            return
        for start in range(0, len(keys), _DELETES_AT_ONCE):
            await asyncio.gather(*map(self._delete_one, keys[start : start + _DELETES_AT_ONCE]))

    async def _delete_one(self, key: str) -> None:
        with suppress(FileNotFoundError):  # S3 ignores a missing object, Google reports it
            await obstore.delete_async(self._metadata_store, key)

    async def _remove_folder(self, folder: str) -> int:
        removed = 0
        with _mapped_errors():
            async for batch in obstore.list(self._metadata_store, folder):
                await self._delete([meta["path"] for meta in batch])
                removed += len(batch)
        return removed

    # ── For the worker ───────────────────────────────────────────────────────────────────────────

    def output_prefix(self, source: str, job_id: UUID, attempt: int) -> str:  # noqa: ARG002  # part of the common interface
        """Return the key prefix of an attempt's outputs; unique, so that attempts can't overwrite each other's."""
        return _attempt_folder(job_id, attempt)

    def fetch(
        self,
        key: str,
        file: BinaryIO,
        *,
        max_bytes: int,
        version: str = "",
        reserve: Reserve = unlimited,
        interrupts: Interrupts = never,
    ) -> tuple[int, str]:
        """Copy an object into an empty file; see :meth:`S3Transfers.get`."""
        return self._transfers.get(
            key, file, max_bytes=max_bytes, version=version, reserve=reserve, interrupts=interrupts
        )

    def fetch_asset(
        self, asset_id: UUID, file: BinaryIO, *, size: int, version: str, interrupts: Interrupts = never
    ) -> None:
        """Copy an asset into an empty file; see :meth:`S3Transfers.get`.

        Raises:
            SourceGoneError: it does not exist.
            SourceChangedError, SourceOverLimitError: it has another size or version.
        """
        found, _ = self._transfers.get(
            asset_key(asset_id), file, max_bytes=size, version=version, interrupts=interrupts
        )
        if found != size:
            raise SourceChangedError("The asset in object storage was replaced")

    def store(
        self, file: IO[bytes], key: str, *, media_type: str, sha256: str | None = None, interrupts: Interrupts = never
    ) -> None:
        """Store an open file as the object ``key``, atomically; see :meth:`S3Transfers.put`."""
        checksum = checksum_headers(sha256) if self._has_checksums else {}
        headers = {"Content-Type": media_type, **self._encryption, **checksum}
        self._transfers.put(key, file, headers, sha256=sha256, interrupts=interrupts)

    def close(self) -> None:
        """Close the idle connections of transfers."""
        self._transfers.close()
        self.multipart.close()

    def check(self) -> None:
        """Check that the server answers, as :meth:`ping` does, for a thread without an event loop.

        Raises:
            ObjectsUnavailableError: it does not.
        """
        with _mapped_errors():
            next(iter(obstore.list(self._metadata_store, "uploads/ping")), None)


def _configured_key(settings: Settings) -> KeySource:
    secret, token = settings.s3_secret_access_key, settings.s3_session_token
    key = AccessKey(
        settings.s3_access_key_id or "",
        secret.get_secret_value() if secret else "",
        token.get_secret_value() if token else "",
    )
    return lambda: key


def _open(settings: Settings, keys: KeySource, client: ClientConfig, retries: RetryConfig) -> S3Store:
    def credentials() -> S3Credential:
        key = keys()
        return {
            "access_key_id": key.access_key_id,
            "secret_access_key": key.secret_access_key,
            "token": key.session_token or None,
            "expires_at": datetime.now(UTC),  # obstore asks again for each request: keys() costs nothing
        }

    is_virtual = settings.s3_addressing == "virtual"
    endpoint, _ = address(settings.s3_endpoint_url, settings.s3_bucket, settings.s3_addressing)
    return S3Store(
        settings.s3_bucket,
        prefix=settings.s3_prefix or None,
        # obstore reads variables of AWS from the environment, which an argument overrides.
        aws_endpoint_url_s3=endpoint,
        region=settings.s3_region,
        skip_signature=False,
        request_payer=False,
        s3_express=False,
        unsigned_payload=False,
        disable_bulk_delete=not settings.s3_bulk_delete,
        virtual_hosted_style_request=is_virtual,
        credential_provider=credentials,
        client_options={"allow_http": settings.s3_endpoint_url.startswith("http://"), **client},
        retry_config=retries,
    )


@contextmanager
def _mapped_errors() -> Iterator[None]:
    """Map the errors of obstore to those of PixelFlow, without their texts, which may contain presigned URLs."""
    try:
        yield
    except (exceptions.BaseError, OSError) as error:
        raise _unavailable() from error


def _unavailable() -> ObjectsUnavailableError:
    return ObjectsUnavailableError("Object storage is not available; try again shortly")
