"""The buckets that the operator named for the users' jobs: their keys, credentials and connections."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Mapping
from typing import IO, BinaryIO
from urllib.parse import quote

from pixelflow.adapters.storage.interrupts import Interrupts, Reserve, never, unlimited
from pixelflow.adapters.storage.request_form import address, checksum_headers, encryption_headers
from pixelflow.adapters.storage.signatures import AccessKey, KeySource, Signer, no_access_key
from pixelflow.adapters.storage.transfers import NO_SUCH_KEY, ObjectTransferError, S3Transfers
from pixelflow.errors import (
    DestinationExistsError,
    DestinationRefusedError,
    DestinationUnavailableError,
    SourceBucketUnavailableError,
    SourceNotAllowedError,
    SourceNotFoundError,
    SourceOverLimitError,
)
from pixelflow.settings import SettingsError
from pixelflow.settings.buckets import USER_FOLDER, NamedBucket

JOB_METADATA = "x-amz-meta-pixelflow-job"
HASH_METADATA = "x-amz-meta-pixelflow-sha256"
_FORBIDDEN, _NOT_FOUND, _CONFLICT, _PRECONDITION_FAILED, _FIRST_SERVER_ERROR = 403, 404, 409, 412, 500
_TEMPORARY = {"ExpiredToken", "RequestTimeTooSkewed", "SlowDown", "RequestTimeout"}
"""Codes of S3's refusals that pass without a change of the job or the bucket."""


def user_folder(user_id: str) -> str:
    """Return the name of a user's folder: the ID, with ``=`` and two hexadecimal digits for each special byte."""
    name = quote(user_id, safe="").replace("%", "=")
    return name.replace(".", "=2E") if name in {".", ".."} else name


def key_root(bucket: NamedBucket, user_id: str) -> str:
    """Return what the keys of a user's objects start with, below the bucket's prefix."""
    return f"{user_folder(user_id)}/" if bucket.per_user else ""


def source_root(bucket: NamedBucket, user_id: str) -> str:
    """Return what the keys of a user's sources start with, below the bucket's prefix."""
    return bucket.source_template.replace(USER_FOLDER, f"{user_folder(user_id)}/")


def can_read(bucket: NamedBucket, user_id: str) -> bool:
    """Whether the user's jobs can read sources from the bucket, below :func:`source_root`."""
    return bucket.sources and bucket.allows(user_id)


def public_url(bucket: NamedBucket | None, key: str) -> str | None:
    """Return the final URL of the object with this key below the prefix; ``None`` if the bucket has no public URL."""
    if bucket is None or bucket.public_base_url is None:
        return None
    return f"{bucket.public_base_url.rstrip('/')}/{quote(key, safe='/~')}"


class NamedBuckets:
    """The named buckets of a process. Thread-safe; connects when a bucket is used first."""

    def __init__(
        self,
        buckets: Mapping[str, NamedBucket],
        environment: Mapping[str, str],
        aws_keys: KeySource = no_access_key,
    ) -> None:
        """Read the credentials.

        Args:
            buckets: by name.
            environment: has the variables that hold the credentials.
            aws_keys: the access key that AWS gives the process.

        Raises:
            SettingsError: variables are not set; one line for each.
        """
        missing = [
            f"PIXELFLOW_BUCKETS: the bucket {name} needs the environment variable {variable}, which is not set."
            for name, bucket in buckets.items()
            for variable in bucket.variables
            if not environment.get(variable)
        ]
        if missing:
            raise SettingsError("\n".join(missing))
        self._buckets = buckets
        self._keys = {
            name: aws_keys if bucket.credentials == "aws" else _configured_key(bucket, environment)
            for name, bucket in buckets.items()
        }
        self._open: dict[str, S3Transfers] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> tuple[NamedBucket, S3Transfers]:
        """Return a bucket and its transfers.

        Raises:
            DestinationRefusedError: the operator named no such bucket for outputs, or no longer.
        """
        bucket = self._buckets.get(name)
        if bucket is None or not bucket.outputs:
            raise DestinationRefusedError(f"The bucket `{name}` is not available any more")
        return bucket, self._transfers_of(name, bucket)

    def server(self, name: str) -> str:
        """Return the endpoint of a bucket's server; empty if the operator names no such bucket any more."""
        bucket = self._buckets.get(name)
        return bucket.endpoint_url if bucket else ""

    def _transfers_of(self, name: str, bucket: NamedBucket) -> S3Transfers:
        with self._lock:
            if name not in self._open:
                self._open[name] = _transfers(bucket, self._keys[name])
            return self._open[name]

    def fetch(
        self,
        name: str,
        key: str,
        user_id: str,
        file: BinaryIO,
        *,
        max_bytes: int,
        version: str,
        on_version: Callable[[str], object],
        reserve: Reserve,
        interrupts: Interrupts,
    ) -> tuple[int, str]:
        """Copy the source of a user's job into an empty file; see :meth:`S3Transfers.receive_file`.

        Raises:
            SourceNotFoundError: the bucket has no such object.
            SourceNotAllowedError: the user can't read it, or the bucket refuses the credentials.
            SourceBucketUnavailableError: the server does not answer, or the transfer was ended.
        """
        bucket = self._buckets.get(name)
        if bucket is None or not can_read(bucket, user_id) or not key.startswith(source_root(bucket, user_id)):
            raise SourceNotAllowedError(f"Your jobs can't read this object of the bucket `{name}` any more")
        try:
            return self._transfers_of(name, bucket).receive_file(
                bucket.prefix + key,
                file,
                max_bytes=max_bytes,
                version=version,
                on_version=on_version,
                reserve=reserve,
                interrupts=interrupts,
            )
        except ObjectTransferError as error:
            raise _source_error(error, name, key) from error

    def store(
        self,
        name: str,
        key: str,
        file: IO[bytes],
        *,
        headers: Mapping[str, str],
        sha256: str,
        job: str,
        overwrite: bool,
        interrupts: Interrupts,
    ) -> None:
        """Store an output; does nothing if the job has stored it already.

        Args:
            name: of the bucket.
            key: of the object, below the bucket's prefix.
            file: the content; seekable.
            headers: of the object.
            sha256: of the content, in hex.
            job: ID of the job.
            overwrite: whether an object of another origin is replaced.
            interrupts: registers what ends the transfer.

        Raises:
            DestinationExistsError: an object of another origin has the key.
            DestinationRefusedError: the bucket does not exist, or refuses the credentials or a header.
            DestinationUnavailableError: the server does not answer, or the transfer was ended.
        """
        bucket, transfers = self.get(name)
        key = bucket.prefix + key
        sent = {**headers, JOB_METADATA: job, HASH_METADATA: sha256, **_rules(bucket, sha256)}
        try:
            found = _find(transfers, key, interrupts)
            if (found.get(JOB_METADATA), found.get(HASH_METADATA)) == (job, sha256):
                return
            if found and not overwrite and found.get(JOB_METADATA) != job:
                raise _exists()
            condition = {} if overwrite or found else {"If-None-Match": "*"}
            transfers.send_file(key, file, {**sent, **condition}, sha256=sha256, interrupts=interrupts)
        except ObjectTransferError as error:
            if not self._has_stored(error, transfers, key, sent, interrupts):
                raise _mapped(error, name) from error

    def probe(self, name: str) -> str:
        """Ask a bucket for an object that hardly exists; return S3's code of the answer, ``NoSuchKey`` if all is well.

        The code is the status if the server sent none, and empty if the server does not answer.
        """
        bucket = self._buckets[name]
        try:
            self._transfers_of(name, bucket).receive_file(
                f"{bucket.prefix}pixelflow-doctor",
                io.BytesIO(),
                max_bytes=0,
                version="",
                reserve=unlimited,
                interrupts=never,
            )
        except ObjectTransferError as error:
            return error.code or str(error.status or "")
        except SourceOverLimitError:  # somebody stored one
            pass
        return NO_SUCH_KEY

    def _has_stored(
        self,
        error: ObjectTransferError,
        transfers: S3Transfers,
        key: str,
        sent: Mapping[str, str],
        interrupts: Interrupts,
    ) -> bool:
        """Whether a repeated PUT was refused only because the one before it succeeded, whose response was lost."""
        if error.status != _PRECONDITION_FAILED:
            return False
        try:
            found = _find(transfers, key, interrupts)
        except ObjectTransferError:
            return False
        return all(found.get(name) == sent[name] for name in (JOB_METADATA, HASH_METADATA))

    def close(self) -> None:
        """Close idle connections."""
        for transfers in self._open.values():
            transfers.close()


def _find(transfers: S3Transfers, key: str, interrupts: Interrupts) -> Mapping[str, str]:
    """Return the ETag and metadata of an object; empty if there is none, or if the credentials may not read.

    Some servers ignore ``If-None-Match``, so the object is looked for first.
    """
    try:
        return transfers.head(key, interrupts=interrupts)
    except ObjectTransferError as error:
        if error.status in {_NOT_FOUND, _FORBIDDEN}:
            return {}
        raise


def _mapped(error: ObjectTransferError, name: str) -> Exception:
    if error.status == _PRECONDITION_FAILED:
        return _exists()
    if _is_outage(error) or error.status == _CONFLICT:
        return DestinationUnavailableError(f"The bucket `{name}` is not available; the job waits for it")
    reason = f": {error.code}" if error.code else ""
    return DestinationRefusedError(f"The bucket `{name}` refuses the output{reason} (status {error.status})")


def _is_outage(error: ObjectTransferError) -> bool:
    return error.status is None or error.again or error.code in _TEMPORARY


def _source_error(error: ObjectTransferError, name: str, key: str) -> Exception:
    if _is_outage(error):
        return SourceBucketUnavailableError(f"The bucket `{name}` is not available; the job waits for it")
    if error.code == NO_SUCH_KEY:
        return SourceNotFoundError(f"The bucket `{name}` has no object `{key}`")
    reason = f": {error.code}" if error.code else ""
    return SourceNotAllowedError(f"The bucket `{name}` refuses to send the object{reason} (status {error.status})")


def _exists() -> DestinationExistsError:
    return DestinationExistsError(
        "An object has the key already; use another key, or `overwrite` in `destination` to replace it"
    )


def _rules(bucket: NamedBucket, sha256: str) -> dict[str, str]:
    """Return the headers that the bucket's rules demand."""
    checksum = checksum_headers(sha256) if bucket.checksums else {}
    return {**encryption_headers(bucket.sse, bucket.sse_kms_key_id), **checksum}


def _configured_key(bucket: NamedBucket, environment: Mapping[str, str]) -> KeySource:
    key_id, secret, *token = [environment[variable] for variable in bucket.variables]
    key = AccessKey(key_id, secret, "".join(token))
    return lambda: key


def _transfers(bucket: NamedBucket, keys: KeySource) -> S3Transfers:
    endpoint, folder = address(bucket.endpoint_url, bucket.bucket, bucket.addressing)
    root = f"/{folder}/" if folder else "/"
    return S3Transfers(endpoint, root=root, signer=Signer(endpoint, region=bucket.region, credentials=keys))
