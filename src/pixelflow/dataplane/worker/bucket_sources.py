"""Sources that are objects in buckets that the operator named. Never changes or deletes one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import BinaryIO

from pixelflow.adapters.storage.buckets import NamedBuckets
from pixelflow.adapters.storage.interrupts import Reserve
from pixelflow.dataplane.worker.bucket_places import BucketPlaces
from pixelflow.dataplane.worker.leases import ActiveLease
from pixelflow.dataplane.worker.store import ClaimedJob
from pixelflow.errors import SourceBucketUnavailableError, SourceNotAllowedError, SourcePostponedError


def source_place(buckets: NamedBuckets, places: BucketPlaces, name: str) -> AbstractContextManager[None]:
    """Return a place for :func:`fetch_from_bucket`, also while its file waits for room.

    Raises:
        SourcePostponedError: when it is entered; see :meth:`BucketPlaces.place`.
    """
    refusal = SourcePostponedError(f"The worker reads other sources from the server of the bucket `{name}` first")
    return places.place(buckets.server(name), refusal)


def fetch_from_bucket(
    buckets: NamedBuckets,
    job: ClaimedJob,
    lease: ActiveLease,
    file: BinaryIO,
    *,
    max_bytes: int,
    reserve: Reserve,
    pin: Callable[[str], object],
) -> tuple[int, str]:
    """Copy the source of a job into an empty file; return its size in bytes and its SHA-256.

    Args:
        buckets: of the worker.
        job: the claimed job; if it has the version of an earlier attempt, the object must still have it.
        lease: its lease.
        file: where to.
        max_bytes: limit of the source.
        reserve: makes room for the source.
        pin: called with the version of the object.

    Raises:
        SourceError: the object can't be used.
        SourceBucketUnavailableError: the bucket does not answer. It may be any server, so that does not degrade the
            worker.
        LeaseLostError, ShutdownRequestedError: the attempt was interrupted.
    """
    if job.source_bucket is None:
        raise SourceNotAllowedError("The job names no bucket")
    try:
        return buckets.fetch(
            job.source_bucket,
            job.source_key,
            job.user_id,
            file,
            max_bytes=max_bytes,
            version=job.source_version or "",
            on_version=pin,
            reserve=reserve,
            interrupts=lease.on_interrupt,
        )
    except SourceBucketUnavailableError:
        lease.check()  # raises if the transfer was ended because the lease was interrupted
        raise
