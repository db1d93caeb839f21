"""Object storage: the bytes. Signs the URLs that clients use, and moves files for the worker.

Never trusts a name that comes from outside; keys are made here and nowhere else.
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
_ASKING_SECONDS = 5
"""How long a question may take, a second try included: a client waits for the answer."""
_SILENCE_SECONDS = 60
"""How long a transfer may stand still; a part of an upload (5 MiB) must be through by then."""
_SLOWEST_BYTES_PER_SECOND = 250_000
"""A transfer slower than this is given up."""


def source_key(job_id: UUID) -> str:
    """Where the client uploads the source of a job."""
    return f"uploads/{job_id}/source"


def _attempt_folder(job_id: UUID, attempt: int) -> str:
    return f"outputs/{job_id}/{attempt}"


@dataclass(frozen=True)
class SignedUrl:
    """A URL that lets whoever holds it do one thing, until it expires."""

    url: str
    headers: Mapping[str, str]
    """To be sent exactly as given; they are signed."""
    expires_at: datetime

    def __repr__(self) -> str:
        return f"SignedUrl(expires_at={self.expires_at.isoformat()})"


class ObjectStorage:
    """A bucket, as the service sees it and as clients see it."""

    def __init__(self, settings: Settings) -> None:
        self._credentials = Credentials(settings.s3_access_key_id, settings.s3_secret_access_key.get_secret_value())
        self._region = settings.s3_region
        self._public_root = f"{settings.public_endpoint_url}/{settings.s3_bucket}"
        asking, moving = timedelta(seconds=_ASKING_SECONDS), timedelta(seconds=_SILENCE_SECONDS)
        whole = moving + timedelta(seconds=settings.max_source_bytes / _SLOWEST_BYTES_PER_SECOND)
        self._asked = _open(
            settings,
            {"connect_timeout": asking, "timeout": asking},
            {"max_retries": 1, "retry_timeout": asking / 2},
        )
        self._moved = _open(
            settings,
            {"connect_timeout": timedelta(seconds=5), "read_timeout": moving, "timeout": whole},
            {"max_retries": 2, "retry_timeout": timedelta(seconds=10)},
        )

    # ── For clients ──────────────────────────────────────────────────────────────────────────────

    def sign_upload(self, key: str, *, content_length: int | None, content_type: str | None, seconds: int) -> SignedUrl:
        """A URL for one PUT of ``key``; what is declared is signed, so that nothing else can be sent."""
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
        """A URL for one GET of ``key``, answered with the given type and name whatever the server has kept of them."""
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
        """Bytes of the object, or ``None`` if there is none.

        Raises:
            ObjectsUnavailableError: the server does not answer.
        """
        with _mapped_errors():
            try:
                meta = await obstore.head_async(self._asked, key)
            except FileNotFoundError:
                return None
        return meta["size"]

    async def ping(self) -> None:
        """List nothing: unlike a missing object, a missing bucket is told of then.

        Raises:
            ObjectsUnavailableError: no answer, a refusal, or no such bucket.
        """
        with _mapped_errors():
            async for _ in obstore.list(self._asked, "uploads/ping"):
                break

    # ── For the garbage collector ────────────────────────────────────────────────────────────────

    async def remove_job(self, job_id: UUID) -> int:
        """Remove the source and the outputs of all attempts of a job; returns how many objects that were.

        Raises:
            ObjectsUnavailableError: the server does not answer; what is left is removed by another call.
        """
        return sum([await self._remove_folder(f"{root}/{job_id}") for root in ("uploads", "outputs")])

    async def remove_attempt(self, job_id: UUID, attempt: int) -> int:
        """Remove what an attempt has stored; returns how many objects that were.

        Raises:
            ObjectsUnavailableError: as for ``remove_job``.
        """
        return await self._remove_folder(_attempt_folder(job_id, attempt))

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove these objects; one that is gone already is as good as any.

        Raises:
            ObjectsUnavailableError: some of them may be left.
        """
        with _mapped_errors():
            await obstore.delete_async(self._asked, list(keys))

    async def _remove_folder(self, folder: str) -> int:
        removed = 0
        with _mapped_errors():
            async for batch in obstore.list(self._asked, folder):
                await obstore.delete_async(self._asked, [meta["path"] for meta in batch])
                removed += len(batch)
        return removed

    # ── For the worker ───────────────────────────────────────────────────────────────────────────

    def output_prefix(self, source: str, job_id: UUID, attempt: int) -> str:  # noqa: ARG002  # same for every source
        """Where an attempt stores its outputs; no two attempts share it, so none can overwrite another's."""
        return _attempt_folder(job_id, attempt)

    def fetch(self, key: str, destination: Path, *, max_bytes: int) -> tuple[int, str]:
        """Copy an object to a file, hashing it on the way; returns its bytes and SHA-256 (hex).

        Raises:
            SourceGoneError: there is no such object.
            SourceOverLimitError: it is larger than ``max_bytes``.
            ObjectsUnavailableError: the server does not answer.
            OSError: the file can't be written.
        """
        with _mapped_errors():
            try:
                answer = obstore.get(self._moved, key)
            except FileNotFoundError as error:
                raise SourceGoneError("The source is no longer in object storage; create a new job") from error
        if answer.meta["size"] > max_bytes:
            raise SourceOverLimitError(f"The source has {answer.meta['size']} bytes; {max_bytes} are allowed")
        return _write_hashed(_received(answer), destination)

    def store(self, file: IO[bytes], key: str, *, media_type: str) -> None:
        """Put an open file under ``key``: whole, or not at all.

        Raises:
            ObjectsUnavailableError: the server does not answer.
        """
        with _mapped_errors():
            obstore.put(self._moved, key, file, attributes={"Content-Type": media_type})


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


def _received(answer: GetResult) -> Iterator[bytes]:
    """The body, by chunks. What goes wrong while the receiver keeps them is not storage's fault and passes."""
    with _mapped_errors():
        yield from answer.stream(min_chunk_size=_CHUNK)


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
    """The one place where obstore's errors become PixelFlow's; their texts may hold signed URLs and stay out."""
    try:
        yield
    except (exceptions.BaseError, OSError) as error:
        raise ObjectsUnavailableError("Object storage is not available; try again shortly") from error
