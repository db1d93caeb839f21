"""Finds where the source of a new job is, and whether that of an existing one can be used."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncDatabase, of_user
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import source_key
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.sources import DeclaredSource, SourceType
from pixelflow.controlplane.jobs import origins
from pixelflow.controlplane.jobs.source_buckets import SourceBuckets
from pixelflow.controlplane.jobs.store import SourcePlace
from pixelflow.errors import UrlSourcesDisabledError
from pixelflow.settings.buckets import NamedBucket


class SourcePlaces:
    """Finds sources, and checks that the user may read them."""

    def __init__(
        self, database: AsyncDatabase, local_files: LocalFiles, *, urls: bool, buckets: Mapping[str, NamedBucket]
    ) -> None:
        """``urls``: whether sources by URL are enabled. ``buckets`` by name."""
        self._urls = urls
        self._buckets = SourceBuckets(buckets)
        self._database = database
        self._local_files = local_files

    def check(self, user_id: str, source: DeclaredSource | None) -> None:
        """Check that the user can read a source in a named bucket.

        Raises:
            ValidationFailedError: the user can't.
        """
        if source and source.bucket is not None and source.key is not None:
            self._buckets.check(user_id, source.bucket, source.key)

    async def find(self, user_id: str, request: CreateJobRequest, job_id: UUID) -> tuple[CreateJobRequest, SourcePlace]:
        """Return where the source of the job ``job_id`` is; and the request, with what is known of an existing file.

        Raises:
            LocalFilesDisabledError: a local file is not under an allowed root.
            UrlSourcesDisabledError: sources by URL are not enabled.
            ValidationFailedError: the user can't read the object in a named bucket, possibly no longer.
            NotFoundError, JobNotFinishedError, OutputMissingError, SourceMissingError: an earlier job can't give the
                file that the request means.
        """
        place = SourcePlace(source_key(job_id))
        if request.source_type is SourceType.JOB and request.source and request.source.job:
            async with self._database.connection(of_user(user_id)) as connection:
                origin = await origins.find(connection, job_id=request.source.job, user_id=user_id)
            request, place = origins.resolve(request, origin)
        elif request.source_type is SourceType.URL and request.source:
            place = SourcePlace("", url=request.source.url)
        elif request.source_type is SourceType.BUCKET and request.source:
            place = SourcePlace(request.source.key or "", bucket=request.source.bucket)
        elif request.source_type is SourceType.LOCAL_FILE:
            place = SourcePlace(request.object_key or "")
        if request.source_type is SourceType.LOCAL_FILE and place.job_id is None:
            place = SourcePlace(await asyncio.to_thread(self._local_files.resolve, place.key, user_id))
        if request.source_type is SourceType.URL and not self._urls:
            raise UrlSourcesDisabledError("Sources by URL are not enabled; upload the file, or ask the operator")
        if place.bucket is not None:
            self._buckets.check(user_id, place.bucket, place.key)
        return request, place
