"""Transfers of an attempt: the source into a private file, ahead of its slot, and the outputs in parallel.

A transfer that fails because the attempt was interrupted raises the reason of the interruption, not a storage error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO, Protocol, TypeVar
from uuid import UUID

from pixelflow.adapters.storage.buckets import NamedBuckets
from pixelflow.adapters.storage.interrupts import Interrupts, Reserve
from pixelflow.contracts.jobs.sources import SourceType
from pixelflow.dataplane.worker.bucket_places import BucketPlaces
from pixelflow.dataplane.worker.bucket_sources import fetch_from_bucket, source_place
from pixelflow.dataplane.worker.destinations import (
    check_destination,
    destination_place,
    store_at_destination,
    with_destination_keys,
)
from pixelflow.dataplane.worker.exchange import CopiedOutput
from pixelflow.dataplane.worker.health import Reason, WorkerHealth
from pixelflow.dataplane.worker.leases import ActiveLease, Progress, ShutdownRequestedError
from pixelflow.dataplane.worker.sandbox import Transformed
from pixelflow.dataplane.worker.source_room import BytesAtHand, NoRoomError, Room
from pixelflow.dataplane.worker.store import ClaimedJob, JobAsset, OutputRow
from pixelflow.dataplane.worker.url_sources import FetchPlace, UrlSources
from pixelflow.errors import (
    AssetGoneError,
    JobError,
    ObjectsUnavailableError,
    SourceChangedError,
    SourceError,
    SourceUrlRefusedError,
    SourceUrlUnavailableError,
)
from pixelflow.imaging.formats.registry import FORMATS, output_name

_IN_OBJECT_STORAGE = {SourceType.S3_PRESIGNED, SourceType.JOB, SourceType.URL, SourceType.BUCKET}
"""Types of sources of jobs whose outputs are in object storage."""

_T = TypeVar("_T")
_Fetch = Callable[[BinaryIO, Reserve], tuple[int, str]]


class Storage(Protocol):
    """Storage of sources and outputs: object storage, or local folders."""

    def fetch(
        self, key: str, file: BinaryIO, *, max_bytes: int, version: str, reserve: Reserve, interrupts: Interrupts
    ) -> tuple[int, str]:
        """Copy a source into an empty file, for which it reserves room; return its size in bytes and its SHA-256.

        ``version`` is that of the object when the job was queued; empty: any.
        """

    def output_prefix(self, source: str, job_id: UUID, attempt: int) -> str:
        """Return the folder of an attempt's outputs."""

    def store(self, file: IO[bytes], key: str, *, media_type: str, sha256: str, interrupts: Interrupts) -> None:
        """Store an output."""


class AssetStorage(Protocol):
    """Storage of assets."""

    def fetch_asset(self, asset_id: UUID, file: BinaryIO, *, size: int, version: str, interrupts: Interrupts) -> None:
        """Copy an asset into an empty file, if it still has that size and version."""


class Transfers:
    """Moves the files of all attempts of a worker. Thread-safe."""

    def __init__(
        self,
        storages: Mapping[str, Storage],
        *,
        assets: AssetStorage,
        buckets: NamedBuckets | None = None,
        bucket_places: BucketPlaces | None = None,
        urls: UrlSources | None = None,
        health: WorkerHealth,
        max_source_bytes: int,
        parallel_uploads: int,
    ) -> None:
        """Start no thread yet.

        Args:
            storages: by source type; for ``url`` and ``bucket``, that of the outputs.
            assets: of the users.
            buckets: for sources, and destinations of outputs. Default: none.
            bucket_places: for the transfers with them. Default: one at a time.
            urls: fetches sources by URL. Default: none is fetched.
            health: receives failures and successes of object storage.
            max_source_bytes: limit of one source; sources at hand may have twice as many bytes together, those by URL
                as many again, and those in named buckets, too.
            parallel_uploads: outputs of all jobs that are stored at a time, besides one per job.
        """
        self._storages = storages
        self._assets = assets
        self._buckets = buckets or NamedBuckets({}, {})
        self._bucket_places = bucket_places or BucketPlaces(1)
        self._urls = urls
        self._health = health
        self._max_source_bytes = max_source_bytes
        self._at_hand = BytesAtHand(2 * max_source_bytes)
        self._at_hand_of = {type_: BytesAtHand(2 * max_source_bytes) for type_ in (SourceType.URL, SourceType.BUCKET)}
        """Of sources at other servers: one that sends slowly must not hold the room of the others."""
        self._uploads = ThreadPoolExecutor(parallel_uploads, thread_name_prefix="upload")
        self._closed = False

    def close(self) -> None:
        """Start no further upload in parallel; those in progress continue."""
        self._closed = True
        self._uploads.shutdown(wait=False, cancel_futures=True)

    def room(self, source_type: str) -> AbstractContextManager[Room]:
        """Room for the file of a source: leave the context after the file was removed."""
        return self._at_hand_of.get(SourceType(source_type), self._at_hand).room()

    def fetch(
        self,
        job: ClaimedJob,
        lease: ActiveLease,
        path: Path,
        room: Room,
        *,
        pin: Callable[[str], object] = lambda _: None,
        more_bytes: int = 0,
    ) -> tuple[int, str]:
        """Copy the source of a job to a new file; return its size in bytes and its SHA-256.

        While there is no room for it, wait without a connection to the storage, and fetch it afterwards.

        Args:
            job: the claimed job.
            lease: its lease.
            path: of the new file.
            room: for the bytes of the source, and of the job's assets.
            pin: called with the version of an object in a named bucket.
            more_bytes: of the job's assets.

        Raises:
            SourceError: the source can't be used, or not yet.
            ObjectsUnavailableError: the storage does not answer.
            DestinationUnavailableError: the outputs could not be stored at present.
            OSError: the file can't be written.
            LeaseLostError, ShutdownRequestedError: the attempt was interrupted.
        """
        check_destination(self._buckets, self._bucket_places, job)
        with self._place(job) as place:
            fetch = partial(self._fetch, job, lease, place, pin=pin)
            size, sha256 = _fetch_when_there_is_room(fetch, lease, path, room, more_bytes)
        if job.declared_sha256 not in {None, sha256}:
            raise SourceChangedError("The source does not have the SHA-256 that the job declares")
        return size, sha256

    def _place(self, job: ClaimedJob) -> AbstractContextManager[FetchPlace | None]:
        """What bounds the sources at other servers: those that wait for room keep a place of the worker, too."""
        if job.source_type == SourceType.BUCKET and job.source_bucket is not None:
            return source_place(self._buckets, self._bucket_places, job.source_bucket)
        if self._urls is None or job.source_url is None:
            return nullcontext()
        return self._urls.place(job.user_id, job.source_url)

    def _fetch(
        self,
        job: ClaimedJob,
        lease: ActiveLease,
        place: FetchPlace | None,
        file: BinaryIO,
        reserve: Reserve,
        *,
        pin: Callable[[str], object],
    ) -> tuple[int, str]:
        if job.source_type == SourceType.URL:
            return self._fetch_url(job, lease, place, file, reserve)
        if job.source_type == SourceType.BUCKET:
            return fetch_from_bucket(
                self._buckets, job, lease, file, max_bytes=self._max_source_bytes, reserve=reserve, pin=pin
            )
        fetch = partial(
            self._storages[job.source_type].fetch,
            job.source_key,
            file,
            max_bytes=self._max_source_bytes,
            version=job.source_version or "",
            reserve=reserve,
            interrupts=lease.on_interrupt,
        )
        return self._reported(job.source_type, lease, fetch)

    def _fetch_url(
        self, job: ClaimedJob, lease: ActiveLease, place: FetchPlace | None, file: BinaryIO, reserve: Reserve
    ) -> tuple[int, str]:
        """The server may be any: what it does is not reported to the worker's health."""
        if (
            self._urls is None or job.source_url is None or place is None
        ):  # the operator disabled it since the job was claimed
            raise SourceUrlRefusedError("Sources by URL are not enabled")
        try:
            return self._urls.fetch(
                job.source_url,
                file,
                place,
                max_bytes=self._max_source_bytes,
                reserve=reserve,
                interrupts=lease.on_interrupt,
            )
        except SourceUrlUnavailableError:
            lease.check()  # raises if the download was ended because the lease was interrupted
            raise

    def fetch_asset(self, asset: JobAsset, lease: ActiveLease, path: Path) -> None:
        """Copy an asset to a new file.

        Raises:
            AssetGoneError: the asset was deleted, or its object was overwritten.
            ObjectsUnavailableError: object storage does not answer.
            OSError: the file can't be written.
            LeaseLostError, ShutdownRequestedError: the attempt was interrupted.
        """
        with path.open("xb", buffering=0) as file:
            fetch = partial(
                self._assets.fetch_asset,
                asset.asset_id,
                file,
                size=asset.bytes,
                version=asset.etag,
                interrupts=lease.on_interrupt,
            )
            try:
                self._reported(SourceType.S3_PRESIGNED, lease, fetch)
            except SourceError as error:
                raise asset_gone(asset.reference) from error

    def store(self, job: ClaimedJob, lease: ActiveLease, transformed: Transformed) -> list[OutputRow]:
        """Store the outputs of a job in parallel; return their rows in pipeline order.

        Raises:
            ObjectsUnavailableError, DestinationUnavailableError: an output could not be stored.
            DestinationExistsError, DestinationRefusedError: the destination does not take the outputs.
            LeaseLostError, ShutdownRequestedError: the attempt was interrupted.
        """
        storage = self._storages[job.source_type]
        prefix = storage.output_prefix(job.source_key, job.job_id, job.lease_token)
        rows = with_destination_keys(job, _rows(job, prefix, transformed))

        stored: list[OutputRow] = []
        lease.progress = Progress("store", lambda: 100 * len(stored) // max(1, len(rows)))

        def put(row: OutputRow, output: CopiedOutput) -> None:
            storage.store(
                output.content,
                row.object_key,
                media_type=FORMATS[output.format].media_type,
                sha256=output.sha256,
                interrupts=lease.on_interrupt,
            )
            store_at_destination(self._buckets, job, lease, row, output)
            stored.append(row)

        outputs = list(zip(rows, transformed.outputs, strict=True))
        put_all = partial(self._put_all, put, outputs, is_first_alone=job.destination is not None)
        with destination_place(self._buckets, self._bucket_places, job):
            self._reported(job.source_type, lease, put_all)
        lease.check()
        return rows

    def _put_all(
        self,
        put: Callable[[OutputRow, CopiedOutput], None],
        outputs: list[tuple[OutputRow, CopiedOutput]],
        *,
        is_first_alone: bool = False,
    ) -> None:
        """Put outputs in parallel; with ``is_first_alone``, the others after it: a silent server takes no thread."""
        if is_first_alone:
            put(*outputs[0])
            outputs = outputs[1:]
        others: list[Future[None]] = []
        try:
            others.extend(self._uploads.submit(put, *each) for each in outputs[1:])
            for each in outputs[:1]:
                put(*each)
        except RuntimeError as error:
            if self._closed:
                raise ShutdownRequestedError from error
            raise
        finally:  # not earlier: an upload reads the content, which the caller closes
            errors = [failure for future in others if (failure := _error_of(future))]
        if errors:
            raise errors[0]

    def _reported(self, source_type: str, lease: ActiveLease, transfer: Callable[[], _T]) -> _T:
        """Make a transfer, and report to the worker's health how the storage did."""
        try:
            result = transfer()
        except ObjectsUnavailableError:
            lease.check()  # raises if the transfer was ended because the lease was interrupted
            if source_type in _IN_OBJECT_STORAGE:
                self._health.record_failure(Reason.OBJECT_STORAGE)
            raise
        except JobError:
            self._record_success(source_type)
            raise
        self._record_success(source_type)
        return result

    def _record_success(self, source_type: str) -> None:
        if source_type in _IN_OBJECT_STORAGE:
            self._health.record_success(Reason.OBJECT_STORAGE)


def _fetch_when_there_is_room(
    fetch: _Fetch, lease: ActiveLease, path: Path, room: Room, more_bytes: int
) -> tuple[int, str]:
    while True:
        try:
            with path.open("xb", buffering=0) as file:
                return fetch(file, partial(_reserve, room, lease, path, more_bytes=more_bytes))
        except NoRoomError as error:
            path.unlink()
            room.wait(error.size, lease)


def _reserve(room: Room, lease: ActiveLease, path: Path, size: int, *, more_bytes: int) -> None:
    room.reserve(size + more_bytes)
    lease.progress = Progress.by_size("fetch", path, size)


def asset_gone(reference: str) -> AssetGoneError:
    """Return the error of a job whose asset can't be used any more."""
    return AssetGoneError(f"The asset `{reference}` was deleted or replaced; create the job again with another asset")


def _error_of(future: Future[None]) -> BaseException | None:
    try:
        return future.exception()
    except CancelledError:  # by `close`: the worker stops
        return ShutdownRequestedError()


def _rows(job: ClaimedJob, prefix: str, transformed: Transformed) -> list[OutputRow]:
    actions = {step["id"]: step["action"] for step in job.pipeline}
    return [
        OutputRow(
            step_id=output.step_id,
            position=position,
            action=actions[output.step_id],
            format=output.format,
            object_key=f"{prefix}/{output_name(output.step_id, output.format)}",
            bytes=output.bytes,
            width=output.width,
            height=output.height,
            sha256=output.sha256,
        )
        for position, output in enumerate(transformed.outputs)
    ]
