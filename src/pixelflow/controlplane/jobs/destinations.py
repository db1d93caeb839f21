"""Which named buckets the jobs of a user can store their outputs in, and under which keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from pixelflow.adapters.storage.buckets import key_root, user_folder
from pixelflow.contracts.field_errors import validation_failed
from pixelflow.contracts.jobs.destinations import Destination, as_stored, known_values
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.suggestions import similar
from pixelflow.errors import FieldError
from pixelflow.settings.buckets import NamedBucket


class Destinations:
    """The named buckets, for the users that can write to them."""

    def __init__(self, buckets: Mapping[str, NamedBucket]) -> None:
        """``buckets`` by name."""
        self._buckets = buckets

    def check(self, user_id: str, destination: Destination | None) -> None:
        """Check the bucket and the ACL of a destination.

        A bucket of other users is as unknown as one that does not exist.

        Raises:
            ValidationFailedError: the user can't store outputs there.
        """
        if destination is None:
            return
        allowed = {name: each for name, each in self._buckets.items() if each.outputs and each.allows(user_id)}
        if (bucket := allowed.get(destination.bucket)) is None:
            message = unknown_bucket(destination.bucket, allowed, "write to")
            raise validation_failed([FieldError(pointer="/destination/bucket", message=message)])
        if destination.acl is not None and destination.acl not in bucket.acls:
            raise validation_failed(
                [FieldError(pointer="/destination/acl", message="is not allowed for this bucket; leave it out")]
            )

    def stored(self, user_id: str, request: CreateJobRequest, job_id: UUID) -> dict[str, Any] | None:
        """Return what the database stores of a destination that was checked."""
        destination = request.destination
        if destination is None:
            return None
        values = known_values(job_id=job_id, user_folder=user_folder(user_id), metadata=request.metadata)
        return as_stored(destination, key_root(self._buckets[destination.bucket], user_id), values)


def unknown_bucket(name: str, allowed: Mapping[str, NamedBucket], use: str) -> str:
    """Return what is wrong with the name of a bucket that is not one of those for this use."""
    if not allowed:
        return f"is not available: the operator named no bucket that your jobs can {use}"
    meant = similar(name, tuple(allowed), {})
    hint = f"did you mean `{meant}`?" if meant else f"use {', '.join(f'`{each}`' for each in sorted(allowed))}"
    return f"is not a bucket that your jobs can {use}; {hint}"
