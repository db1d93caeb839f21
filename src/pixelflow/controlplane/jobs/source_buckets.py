"""Which objects of the named buckets the jobs of a user can read as their sources.

The API has no credentials of these buckets: whether the object exists, the worker sees.
"""

from __future__ import annotations

from collections.abc import Mapping

from pixelflow.adapters.storage.buckets import can_read, source_root
from pixelflow.contracts.field_errors import validation_failed
from pixelflow.controlplane.jobs.destinations import unknown_bucket
from pixelflow.errors import FieldError
from pixelflow.settings.buckets import NamedBucket


class SourceBuckets:
    """The named buckets, for the users that can read sources from them."""

    def __init__(self, buckets: Mapping[str, NamedBucket]) -> None:
        """``buckets`` by name."""
        self._buckets = buckets

    def check(self, user_id: str, name: str, key: str) -> None:
        """Check the bucket and the folder of a source.

        A bucket of other users is as unknown as one that does not exist.

        Raises:
            ValidationFailedError: the user can't read the object.
        """
        allowed = {each: bucket for each, bucket in self._buckets.items() if can_read(bucket, user_id)}
        if (bucket := allowed.get(name)) is None:
            message = unknown_bucket(name, allowed, "read sources from")
            raise validation_failed([FieldError(pointer="/source/bucket", message=message)])
        if not key.startswith(root := source_root(bucket, user_id)):
            raise validation_failed(
                [
                    FieldError(
                        pointer="/source/key", message=f"must start with `{root}`: you can read nothing else there"
                    )
                ]
            )
