"""Uploads of the sources of jobs: their URLs, their limits, and what was uploaded.

The size is part of an upload URL's signature, so object storage refuses anything else. Without a declared size there is
no bound but that of object storage (docs/adr/0048-uploads-are-bounded.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from pixelflow.adapters.storage.multipart import part_sizes
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.contracts.field_errors import validation_failed
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.sources import DeclaredSource, SourceType
from pixelflow.contracts.uploads import MultipartUpload, Upload
from pixelflow.controlplane.jobs.store import UploadLimits
from pixelflow.errors import FieldError, ObjectsUnavailableError, TooManyUploadsError
from pixelflow.settings import Settings

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class PinnedSource:
    """A source that a job is started with."""

    key: str
    bytes: int | None = None
    """``None``: a worker will learn it when it fetches the source."""
    version: str = ""
    """Of the object; empty: any."""


@dataclass(frozen=True)
class UploadedSource(PinnedSource):
    """A source that exists in object storage, or a local file."""

    bytes: int


class Uploads:
    """Signs and checks uploads."""

    def __init__(self, settings: Settings, objects: ObjectStorage) -> None:
        self._settings = settings
        self._objects = objects

    @property
    def limits(self) -> UploadLimits:
        """The limits of one user's uploads that may still arrive."""
        settings = self._settings
        return UploadLimits(
            settings.max_pending_uploads, settings.max_pending_upload_bytes, undeclared_bytes=settings.max_source_bytes
        )

    def too_many(self) -> TooManyUploadsError:
        """Return the error for a job that would exceed the limits."""
        limits = f"{self._settings.max_pending_uploads} uploads and {self._settings.max_pending_upload_bytes} bytes"
        return TooManyUploadsError(f"Your jobs that were not started can have {limits}; start some of them")

    def require_length(self, request: CreateJobRequest) -> None:
        """Check that a job with an upload declares its size, if the settings require it.

        Raises:
            ValidationFailedError: it does not.
        """
        declared = request.source.content_length if request.source else None
        is_upload = request.source_type is SourceType.S3_PRESIGNED
        if is_upload and declared is None and self._settings.upload_length == "required":
            missing = FieldError(
                pointer="/source/content_length",
                message="is required: the size of the file in bytes, which the upload URL is signed for",
            )
            raise validation_failed([missing])

    def sign(self, request: CreateJobRequest, key: str) -> Upload:
        """Return how to upload the source, with a fresh URL; or that it is there already. Parts are added later."""
        if request.source_type is not SourceType.S3_PRESIGNED:
            return Upload(
                object_key=key,
                presigned_put_url=None,
                presigned_url_state="not_required",
                headers={},
                expires_at=None,
                max_bytes=self._settings.max_source_bytes,
            )
        source = request.source or DeclaredSource()
        if source.multipart and source.content_length is not None:
            return Upload(
                object_key=key,
                presigned_put_url=None,
                presigned_url_state="ready",
                headers={},
                content_length=source.content_length,
                multipart=MultipartUpload(part_size=part_sizes(source.content_length)[0], parts=[]),
                expires_at=None,
                max_bytes=self._settings.max_source_bytes,
            )
        signed = self._objects.sign_upload(
            key,
            content_length=source.content_length,
            content_type=source.content_type,
            sha256=source.sha256,
            seconds=self._settings.upload_url_seconds,
        )
        return Upload(
            object_key=key,
            presigned_put_url=signed.url,
            presigned_url_state="ready",
            headers=dict(signed.headers),
            content_length=source.content_length,
            expires_at=signed.expires_at,
            max_bytes=self._settings.max_source_bytes,
        )

    async def find(self, key: str) -> UploadedSource | None:
        """Return what was uploaded, or ``None`` if nothing was.

        Raises:
            ObjectsUnavailableError: object storage does not answer.
        """
        found = await self._objects.find(key)
        return UploadedSource(key, found.bytes, found.version) if found else None


async def remove_refused(objects: ObjectStorage, key: str) -> None:
    """Delete an upload that no job can run with. If that fails, it is deleted with its job."""
    try:
        await objects.remove([key])
    except ObjectsUnavailableError:
        _log.warning("refused upload not deleted", object_key=key)
