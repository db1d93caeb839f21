"""The input files of an attempt, the source and the user's assets: fetched into private files, removed at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from secrets import token_hex

from pixelflow.adapters.postgres.database import Database
from pixelflow.dataplane.worker import store
from pixelflow.dataplane.worker.leases import ActiveLease, LeaseLostError
from pixelflow.dataplane.worker.store import ClaimedJob, JobAsset
from pixelflow.dataplane.worker.transfers import Transfers, asset_gone
from pixelflow.imaging.pipeline_assets import pipeline_assets
from pixelflow.imaging.step import Step


@dataclass(frozen=True)
class Inputs:
    """The files that a transform reads. No child can open them by their paths."""

    source: Path
    source_bytes: int
    sha256: str
    """Of the source."""
    assets: Mapping[str, Path]
    """By the references in the pipeline."""
    bytes: int
    """Of all files."""


class InputFetcher:
    """Fetches the inputs of attempts. Thread-safe."""

    def __init__(self, database: Database, transfers: Transfers, scratch: Path) -> None:
        self._database = database
        self._transfers = transfers
        self._scratch = scratch

    @contextmanager
    def fetched(self, job: ClaimedJob, lease: ActiveLease, steps: Sequence[Step]) -> Iterator[Inputs]:
        """Fetch the source and the assets of a job; their files are removed when the context exits.

        Raises:
            SourceError: the source or an asset can't be used.
            StoreUnavailableError, ObjectsUnavailableError: the database or object storage does not answer.
            OSError: a file can't be written.
            LeaseLostError, ShutdownRequestedError: the attempt was interrupted.
        """
        assets = self._find_assets(job, steps)
        asset_bytes = sum(asset.bytes for asset in assets)
        with self._transfers.room(job.source_type) as room, ExitStack() as files:
            source = files.enter_context(self._private_file("source"))
            pin = partial(self._pin, job)
            size, sha256 = self._transfers.fetch(job, lease, source, room, pin=pin, more_bytes=asset_bytes)
            paths = {asset.reference: files.enter_context(self._private_file("asset")) for asset in assets}
            for asset in assets:
                self._transfers.fetch_asset(asset, lease, paths[asset.reference])
            yield Inputs(source, size, sha256, paths, size + asset_bytes)

    def _pin(self, job: ClaimedJob, version: str) -> None:
        """Record the version of the source, which the next attempts must find, unless an earlier one did.

        Raises:
            LeaseLostError: the job is not this worker's any more.
        """
        if job.source_version:
            return
        with self._database.connection() as connection:
            if not store.pin_source(connection, job.lease, version):
                raise LeaseLostError

    def _find_assets(self, job: ClaimedJob, steps: Sequence[Step]) -> list[JobAsset]:
        """Return the assets that the steps use.

        Raises:
            AssetGoneError: one was deleted.
        """
        references = pipeline_assets(steps)
        if not references:
            return []
        with self._database.connection() as connection:
            found = {asset.reference: asset for asset in store.find_assets(connection, job.job_id)}
        for reference in references:
            if reference not in found:
                raise asset_gone(reference)
        return [found[reference] for reference in references]

    @contextmanager
    def _private_file(self, kind: str) -> Iterator[Path]:
        path = self._scratch / f"{kind}-{token_hex(8)}"
        try:
            yield path
        finally:
            with suppress(OSError):
                os.truncate(path, 0)  # frees its space, even if a child keeps the file open
            path.unlink(missing_ok=True)
