"""Outputs on their way to the bucket that their job names as destination, before the job succeeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from pixelflow.adapters.storage.buckets import NamedBuckets
from pixelflow.contracts.jobs.destinations import HASH_DIGITS, StoredDestination, fill, is_safe_key, repeated
from pixelflow.dataplane.worker.bucket_places import BucketPlaces
from pixelflow.dataplane.worker.exchange import CopiedOutput
from pixelflow.dataplane.worker.leases import ActiveLease
from pixelflow.dataplane.worker.store import ClaimedJob, OutputRow
from pixelflow.errors import DestinationExistsError, DestinationRefusedError, DestinationUnavailableError
from pixelflow.imaging.formats.registry import FORMATS, output_name


def with_destination_keys(job: ClaimedJob, rows: Sequence[OutputRow]) -> list[OutputRow]:
    """Return the rows with their keys at the job's destination, if it has one.

    Raises:
        DestinationExistsError: two outputs have the same key.
        DestinationRefusedError: a key is too long.
    """
    if job.destination is None:
        return list(rows)
    template = StoredDestination.model_validate(job.destination).resolved_key
    keys = [fill(template, _values(row)) for row in rows]
    if (again := repeated(keys)) is not None:
        raise DestinationExistsError(f"Two outputs have the key `{again}`; add {{step}} to the key of the destination")
    if not all(map(is_safe_key, keys)):
        raise DestinationRefusedError("The key of an output is longer than the 1024 bytes that S3 allows")
    return [dataclasses.replace(row, destination_key=key) for row, key in zip(rows, keys, strict=True)]


def _values(row: OutputRow) -> dict[str, str]:
    return {
        "step": row.step_id,
        "width": str(row.width),
        "height": str(row.height),
        "format": row.format,
        "ext": output_name(row.step_id, row.format).rpartition(".")[2],
        "sha256": row.sha256[:HASH_DIGITS],
    }


def destination_place(buckets: NamedBuckets, places: BucketPlaces, job: ClaimedJob) -> AbstractContextManager[None]:
    """Return a place for the outputs that :func:`store_at_destination` stores, if the job has a destination.

    Raises:
        DestinationUnavailableError: when it is entered; see :meth:`BucketPlaces.place`.
    """
    if job.destination is None:
        return nullcontext()
    name = StoredDestination.model_validate(job.destination).bucket
    return places.place(buckets.server(name), _too_slow(name))


def check_destination(buckets: NamedBuckets, places: BucketPlaces, job: ClaimedJob) -> None:
    """Find out before the job is processed that its outputs could not be stored at present.

    Raises:
        DestinationUnavailableError: the server of its destination has no place.
    """
    if job.destination is not None:
        name = StoredDestination.model_validate(job.destination).bucket
        places.check(buckets.server(name), _too_slow(name))


def _too_slow(name: str) -> DestinationUnavailableError:
    return DestinationUnavailableError(
        f"The server of the bucket `{name}` takes long to store the outputs of other jobs; the job waits for it"
    )


def store_at_destination(
    buckets: NamedBuckets, job: ClaimedJob, lease: ActiveLease, row: OutputRow, output: CopiedOutput
) -> None:
    """Store one output at the job's destination, if it has one.

    Raises:
        DestinationExistsError, DestinationRefusedError: the job can't store it there.
        DestinationUnavailableError: the bucket does not answer. It may be any server, so that does not degrade the
            worker.
        LeaseLostError, ShutdownRequestedError: the attempt was interrupted.
    """
    if job.destination is None or row.destination_key is None:
        return
    destination = StoredDestination.model_validate(job.destination)
    try:
        buckets.store(
            destination.bucket,
            row.destination_key,
            output.content,
            headers={"Content-Type": FORMATS[output.format].media_type, **destination.headers},
            sha256=output.sha256,
            job=str(job.job_id),
            overwrite=destination.overwrite,
            interrupts=lease.on_interrupt,
        )
    except DestinationUnavailableError:
        lease.check()  # raises if the transfer was ended because the lease was interrupted
        raise
