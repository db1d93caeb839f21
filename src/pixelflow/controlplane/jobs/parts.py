"""Uploads of sources in parts: which parts are missing, and making the source of them when all are there.

The job's row is first: it holds the ID of the multipart upload, by which the garbage collector deletes the parts
(docs/adr/0067-uploads-in-parts.md). Never reads or moves the bytes of an image.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncDatabase, of_user
from pixelflow.adapters.storage.multipart import NoSuchUploadError, PartsChangedError, StoredPart, part_sizes
from pixelflow.adapters.storage.objects import ObjectStorage, source_key
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.responses import CreatedJob
from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.contracts.uploads import MultipartUpload, UploadPart
from pixelflow.controlplane.jobs import transitions
from pixelflow.errors import ObjectsUnavailableError, SourceMissingError
from pixelflow.settings import Settings


def is_in_parts(request: CreateJobRequest) -> bool:
    """Whether the client uploads the source in parts."""
    return request.source is not None and request.source.multipart


def without_parts(created: CreatedJob) -> CreatedJob:
    """Return the response for a job that needs no parts any more."""
    multipart = created.upload.multipart
    return created if multipart is None else _with(created, multipart.part_size, [], None)


class PartUploads:
    """The multipart uploads of jobs."""

    def __init__(self, settings: Settings, *, database: AsyncDatabase, objects: ObjectStorage) -> None:
        self._settings = settings
        self._database = database
        self._objects = objects

    async def add_missing(self, user_id: str, request: CreateJobRequest, created: CreatedJob) -> CreatedJob:
        """Return the response with URLs of the parts that are not there; none if the job awaits no upload any more.

        Begins a multipart upload if the job has none, or one that was aborted. Idempotent.

        Raises:
            ObjectsUnavailableError: object storage does not answer.
        """
        sizes, job_id = part_sizes(_length(request)), created.job_id
        for _ in range(2):  # a concurrent request may begin the upload first
            async with self._database.connection(of_user(user_id)) as connection:
                job = await transitions.find(connection, job_id=job_id, user_id=user_id)
            if job is None or job.status != JobStatus.CREATED:
                return without_parts(created)
            upload_id, stored = job.multipart_upload, await self._stored(job_id, job.multipart_upload, sizes)
            if stored is None:
                upload_id, stored = await self._begin(user_id, request, job_id, replaced=upload_id), {}
            if upload_id is not None:
                return self._with_parts(created, sizes, _missing(sizes, stored), upload_id)
        raise ObjectsUnavailableError("The upload was begun at the same time by another request; try again shortly")

    async def complete(self, job_id: UUID, upload_id: str, content_length: int) -> None:
        """Make the source of the parts, unless that was done. Idempotent.

        Raises:
            SourceMissingError: parts are missing, or were replaced meanwhile.
            ObjectsUnavailableError: object storage does not answer.
        """
        key, sizes, uploads = source_key(job_id), part_sizes(content_length), self._objects.multipart
        with suppress(NoSuchUploadError):
            stored = await uploads.parts(key, upload_id)
            if missing := _missing(sizes, stored):
                raise SourceMissingError(
                    f"{len(missing)} of the {len(sizes)} parts are missing, such as part {missing[0]}; "
                    "upload them, then start the job again"
                )
            try:
                await uploads.complete(key, upload_id, {n: part for n, part in stored.items() if n <= len(sizes)})
            except PartsChangedError:
                raise SourceMissingError("A part was uploaded again meanwhile; start the job again") from None

    async def _stored(self, job_id: UUID, upload_id: str | None, sizes: list[int]) -> Mapping[int, StoredPart] | None:
        """Return the parts that are there, also those of a completed upload; ``None`` if there is no upload."""
        if upload_id is None:
            return None
        try:
            return await self._objects.multipart.parts(source_key(job_id), upload_id)
        except NoSuchUploadError:
            if await self._objects.find(source_key(job_id)) is None:
                return None
            return {number: StoredPart("", size) for number, size in enumerate(sizes, 1)}

    async def _begin(
        self, user_id: str, request: CreateJobRequest, job_id: UUID, *, replaced: str | None
    ) -> str | None:
        """Begin an upload and return its ID; ``None`` if a concurrent request has begun one.

        Then nobody uses the new one. It has no parts, and a rule of the bucket deletes it (docs/storage.md).
        """
        content_type = request.source.content_type if request.source else None
        upload_id = await self._objects.multipart.begin(source_key(job_id), content_type=content_type)
        async with self._database.connection(of_user(user_id)) as connection:
            is_set = await transitions.set_multipart_upload(
                connection, job_id=job_id, user_id=user_id, upload_id=upload_id, replaced=replaced
            )
        return upload_id if is_set else None

    def _with_parts(self, created: CreatedJob, sizes: list[int], missing: list[int], upload_id: str) -> CreatedJob:
        parts, expires_at = [], list[datetime]()
        for number in missing:
            signed = self._objects.sign_part(
                created.upload.object_key,
                upload_id=upload_id,
                number=number,
                content_length=sizes[number - 1],
                seconds=self._settings.upload_url_seconds,
            )
            expires_at.append(signed.expires_at)
            offset = (number - 1) * sizes[0]
            parts.append(UploadPart(number=number, url=signed.url, offset=offset, content_length=sizes[number - 1]))
        return _with(created, sizes[0], parts, min(expires_at, default=None))


def _with(created: CreatedJob, part_size: int, parts: list[UploadPart], expires_at: datetime | None) -> CreatedJob:
    changed = {"multipart": MultipartUpload(part_size=part_size, parts=parts), "expires_at": expires_at}
    return created.model_copy(update={"upload": created.upload.model_copy(update=changed)})


def _missing(sizes: list[int], stored: Mapping[int, StoredPart]) -> list[int]:
    return [n for n, size in enumerate(sizes, 1) if n not in stored or stored[n].bytes != size]


def _length(request: CreateJobRequest) -> int:
    return (request.source and request.source.content_length) or 0
