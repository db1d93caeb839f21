"""Sends one photo of a batch: plainly, or recorded in a manifest so that it is sent once, whatever interrupts it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from uuid import UUID

from pixelflow.cli.downloads import OutputFolders, has_content
from pixelflow.cli.manifest import Fingerprint, Manifest, ManifestEntry, SentBefore, fingerprint_of
from pixelflow.cli.photos import Photo
from pixelflow.client import ApiError, AsyncClient, ClientError, TransferError
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.responses import CreatedJob, Job, Output
from pixelflow.contracts.jobs.states import JobStatus

Progress = Callable[[int, int], None]

_LOST = frozenset({"not_found", "idempotency_answer_lost"})
"""Errors that say that the API no longer has the job of an idempotency key, or that its response can't be read."""


@dataclass
class BatchItem:
    """A photo and its result."""

    photo: Photo
    prefix: str
    """What the names of its downloaded outputs begin with."""
    before: SentBefore = SentBefore.NO
    """What the manifest had of the photo."""
    complete: bool = False
    """Whether an earlier command downloaded all outputs."""
    entry: ManifestEntry | None = None
    """What the manifest has of the photo now."""
    job_id: UUID | None = None
    status: str | None = None
    job: Job | None = None
    files: dict[str, Path] = field(default_factory=dict)
    """The downloaded file of each step."""
    error: ClientError | None = None

    @property
    def skipped(self) -> bool:
        """Whether the photo was not sent because an earlier error is fatal for the batch."""
        return self.job_id is None and self.error is None


class Sender(Protocol):
    """Creates and starts the jobs of photos, and downloads their outputs."""

    def known_prefixes(self) -> Mapping[Path, str]:
        """Return the prefixes that earlier commands gave, by the key of the photo."""

    async def send(
        self, client: AsyncClient, item: BatchItem, request: CreateJobRequest, on_progress: Progress
    ) -> None:
        """Create the job, upload the file and start the job; set ``job_id`` and ``status``.

        Raises:
            ClientError: the photo was not sent.
        """

    async def download(self, client: AsyncClient, output: Output, path: Path) -> Path:
        """Download an output to ``path`` atomically.

        Raises:
            ClientError: the output can't be downloaded.
        """

    def set_downloaded(self, item: BatchItem, folder: Path) -> None:
        """Note that all outputs of the photo are in ``folder``."""


class PlainSender:
    """Sends every photo and records nothing."""

    def __init__(self) -> None:
        self._folders = OutputFolders()

    def known_prefixes(self) -> Mapping[Path, str]:
        """Return nothing."""
        return {}

    async def send(
        self, client: AsyncClient, item: BatchItem, request: CreateJobRequest, on_progress: Progress
    ) -> None:
        """See Sender."""
        created = await client.create_job(request)
        await _upload_and_start(client, item, created, on_progress)

    async def download(self, client: AsyncClient, output: Output, path: Path) -> Path:
        """See Sender."""
        self._folders.prepare(path.parent)
        return await client.download(output, path)

    def set_downloaded(self, item: BatchItem, folder: Path) -> None:
        """Do nothing."""


class RecordingSender:
    """Sends a photo unless the manifest says that an earlier command did, and records each step before the next."""

    def __init__(self, manifest: Manifest, work: str, folder: Path | None) -> None:
        self._manifest = manifest
        self._work = work
        self._known = manifest.entries()
        self._folder = folder.absolute() if folder else None
        self._parts = folder / manifest.parts_name if folder else None
        self._folders = OutputFolders()
        self.close()

    def close(self) -> None:
        """Delete incomplete downloads, also those of a command that was killed: the manifest is locked."""
        if self._parts is not None:
            shutil.rmtree(self._parts, ignore_errors=True)

    def known_prefixes(self) -> Mapping[Path, str]:
        """See Sender."""
        return {path: entry.prefix for path, entry in self._known.items()}

    async def send(
        self, client: AsyncClient, item: BatchItem, request: CreateJobRequest, on_progress: Progress
    ) -> None:
        """See Sender."""
        known = self._known.get(item.photo.key)
        fingerprint = await asyncio.to_thread(_fingerprint, item.photo, known)
        entry, item.before = self._manifest.begin(
            known, item.photo.key, fingerprint, work=self._work, prefix=item.prefix
        )
        item.entry = entry
        item.complete = entry.folder is not None and entry.folder == self._folder
        if entry.started or await self._start_uploaded(client, item, entry):
            item.job_id, item.status = entry.job_id, JobStatus.SUCCEEDED if item.complete else "started"
            return
        if item.photo.source is None and request.source is not None:
            # Storage rejects the upload if the file changes after it was read.
            source = request.source.model_copy(update={"sha256": fingerprint.sha256})
            request = request.model_copy(update={"source": source})
        created = await self._create(client, item, request)
        await _upload_and_start(client, item, created, on_progress)
        self._set_started(item)

    async def _create(self, client: AsyncClient, item: BatchItem, request: CreateJobRequest) -> CreatedJob:
        """Create the job with the key of the entry: if that was done before, get the job that it created."""
        body = request.model_dump_json(by_alias=True, exclude_unset=True).encode()
        entry = _entry_of(item)
        try:
            created = await client.create_job(request, idempotency_key=entry.idempotency_key(body))
        except ApiError as error:
            if error.code not in _LOST or item.before is SentBefore.NO:
                raise
            entry = item.entry = self._manifest.forget_job(entry)
            created = await client.create_job(request, idempotency_key=entry.idempotency_key(body))
        item.entry = self._manifest.set_created(entry, created.job_id)
        return created

    async def _start_uploaded(self, client: AsyncClient, item: BatchItem, entry: ManifestEntry) -> bool:
        """Start the job of an earlier command, which may have uploaded the file and even have started the job."""
        if entry.job_id is None:
            return False
        try:
            await client.start_job(entry.job_id)
        except ApiError as error:
            if error.code == "source_missing":
                return False
            if error.code == "not_found":  # it never ran, and has expired
                item.entry = self._manifest.forget_job(entry)
                return False
            if error.code != "job_already_finished":
                raise
        self._set_started(item)
        return True

    def _set_started(self, item: BatchItem) -> None:
        item.entry = self._manifest.set_started(_entry_of(item))

    async def download(self, client: AsyncClient, output: Output, path: Path) -> Path:
        """See Sender. An output whose file is there already is not downloaded again."""
        if self._parts is None or await asyncio.to_thread(has_content, path, output):
            return path
        self._folders.prepare(path.parent)
        part = self._parts / hashlib.sha256(output.object_key.encode()).hexdigest()
        self._folders.prepare(part.parent)
        await client.download(output, part)
        await asyncio.to_thread(_move_durably, part, path)
        return path

    def set_downloaded(self, item: BatchItem, folder: Path) -> None:
        """See Sender."""
        item.entry = self._manifest.set_downloaded(_entry_of(item), folder.absolute())


def _entry_of(item: BatchItem) -> ManifestEntry:
    if item.entry is None:
        raise AssertionError
    return item.entry


async def _upload_and_start(client: AsyncClient, item: BatchItem, created: CreatedJob, on_progress: Progress) -> None:
    if item.photo.source is None:
        await client.upload(created.upload, item.photo.path, on_progress=on_progress)
    started = await client.start_job(created.job_id)
    item.job_id, item.status = started.job_id, started.status


def _fingerprint(photo: Photo, known: ManifestEntry | None) -> Fingerprint:
    if photo.source is not None:  # the file of a job never changes, other files are not known
        return Fingerprint(0, 0, photo.digest)
    try:
        return fingerprint_of(photo.path, known.fingerprint if known else None)
    except OSError as error:
        raise TransferError(f"{photo.path} can't be read: {error.strerror}") from error


def _move_durably(part: Path, path: Path) -> None:
    """Replace ``path`` by ``part``, whose content is on disk before: the manifest will say that it is there."""
    try:
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise TransferError(f"{path} can't be written: {error.strerror}") from error
