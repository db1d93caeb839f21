"""Runs many photos through one pipeline, several at a time.

A photo's error must not stop the others, unless every other photo would fail the same way.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich import progress as rich
from rich.console import Console
from rich.text import Text

from pixelflow.cli.errors import is_fatal_for_batch
from pixelflow.cli.manifest import Manifest
from pixelflow.cli.output import printable
from pixelflow.cli.photos import Photo, output_prefixes
from pixelflow.cli.pipelines import Step, output_ids
from pixelflow.cli.sending import BatchItem, PlainSender, RecordingSender, Sender
from pixelflow.client import AsyncClient, ClientError, JobFailedError, TransferError, UrlSource, WaitTimeoutError
from pixelflow.client.operations import job_request
from pixelflow.client.session import Session
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.responses import Job, Output
from pixelflow.contracts.jobs.states import FINISHED, JobStatus, Priority
from pixelflow.contracts.preset_templates import Scalar
from pixelflow.imaging.source_options import SourceOptions

CONCURRENCY = 8
"""Photos in progress at a time: enough to overlap one photo's upload with another's transform."""


@dataclass(frozen=True)
class BatchOptions:
    """What to do with the photos."""

    photos: Sequence[Photo]
    steps: list[Step]
    """Of the preset, if there is one."""
    wait: bool
    folder: Path | None
    """Where to download outputs; None downloads nothing."""
    timeout: float
    """Seconds to wait for each job."""
    priority: Priority = Priority.NORMAL
    webhook_url: str | None = None
    destination: Mapping[str, Any] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    source: SourceOptions | None = None
    preset: str | None = None
    parameters: Mapping[str, Scalar] = field(default_factory=dict)
    manifest: Path | None = None
    """Records which photo has which job; None sends every photo."""

    @property
    def work(self) -> str:
        """Digest of what determines the outputs of a photo."""
        source = self.source.model_dump(mode="json", exclude_defaults=True) if self.source else {}
        document = [self.steps, self.preset, dict(self.parameters), source]
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

    def request_for(self, photo: Photo) -> CreateJobRequest:
        """Return the request that creates the job of a photo; its file name is in the metadata.

        Raises:
            InvalidRequestError: the request is not valid.
            TransferError: the file can't be read.
        """
        named = {} if photo.filename is None else {"filename": photo.filename}
        return job_request(
            photo.source or photo.path,
            None if self.preset else self.steps,
            preset=self.preset,
            parameters=self.parameters,
            priority=self.priority,
            metadata=named | dict(self.metadata),
            webhook_url=self.webhook_url,
            destination=self.destination,
            source=self.source,
        )


def run_batch(options: BatchOptions, session: Session) -> list[BatchItem]:
    """Process the photos and return their results in the same order. A manifest has each photo once.

    Raises:
        InvalidRequestError: the manifest can't be used.
    """
    with ExitStack() as stack:
        sender: Sender = PlainSender()
        if options.manifest is not None:
            manifest = stack.enter_context(Manifest(options.manifest, session.api_url))
            sender = RecordingSender(manifest, options.work, options.folder)
            stack.callback(sender.close)
            unique = {photo.key: photo for photo in options.photos}
            options = replace(options, photos=list(unique.values()))
        progress = stack.enter_context(_progress_bars(options))
        return asyncio.run(_Batch(options, session, progress, sender).run())


class _Batch:
    def __init__(self, options: BatchOptions, session: Session, progress: _Progress, sender: Sender) -> None:
        self._options = options
        self._step_ids = output_ids(options.steps)
        self._session = session
        self._progress = progress
        self._sender = sender
        self._aborted = False

    async def run(self) -> list[BatchItem]:
        photos, folder = self._options.photos, self._options.folder or Path()
        prefixes = output_prefixes(photos, self._step_ids, folder, self._sender.known_prefixes())
        items = [BatchItem(photo, prefix) for photo, prefix in zip(photos, prefixes, strict=True)]
        slots = asyncio.Semaphore(CONCURRENCY)
        async with AsyncClient(session=self._session) as client, asyncio.TaskGroup() as group:
            for item in items:
                group.create_task(self._run_item(slots, client, item))
        return items

    async def _run_item(self, slots: asyncio.Semaphore, client: AsyncClient, item: BatchItem) -> None:
        async with slots:
            if self._aborted:
                return
            try:
                await self._process(client, item)
            except ClientError as error:
                self._record_error(item, error)
            self._progress.advance_photos()

    async def _process(self, client: AsyncClient, item: BatchItem) -> None:
        request, on_progress = self._options.request_for(item.photo), self._progress.upload_callback()
        await self._sender.send(client, item, request, on_progress)
        if item.complete or not self._options.wait or item.job_id is None:
            return
        # Only a source by URL fails and is tried again in the ordinary course; to see that takes more requests.
        on_change = self._progress.retry_callback(item) if isinstance(item.photo.source, UrlSource) else None
        item.job = await client.wait(item.job_id, timeout=self._options.timeout, on_change=on_change)
        item.status = item.job.status
        if self._options.folder is not None:
            for output in item.job.outputs:
                path = self._options.folder / self._file_name(item, output)
                item.files[output.step_id] = await self._sender.download(client, output, path)
            self._sender.set_downloaded(item, self._options.folder)

    def _file_name(self, item: BatchItem, output: Output) -> str:
        if output.step_id not in self._step_ids:
            # The ID becomes part of a path: a server must not choose where a file is written.
            raise TransferError("The job has an output that no step asked for")
        return f"{item.prefix}-{output.step_id}.{output.extension}"

    def _record_error(self, item: BatchItem, error: ClientError) -> None:
        item.error = error
        if isinstance(error, (JobFailedError, WaitTimeoutError)):
            item.job, item.status = error.job, error.job.status
        self._aborted = self._aborted or is_fatal_for_batch(error)


# ── Progress ─────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _progress_bars(options: BatchOptions) -> Iterator[_Progress]:
    """Show progress bars on stderr if it is a terminal."""
    columns = rich.TextColumn("{task.description}"), rich.BarColumn(), _AmountColumn(), rich.TimeElapsedColumn()
    with rich.Progress(
        *columns, console=Console(stderr=True, highlight=False), transient=True, disable=not sys.stderr.isatty()
    ) as bars:
        total_bytes = sum(_size(photo.path) for photo in options.photos if photo.source is None)
        yield _Progress(bars, total_bytes, len(options.photos))


def _size(path: Path) -> int:
    """Bytes of the file; 0 if it is gone, which is an error of this photo alone."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


class _Progress:
    """Two bars: bytes uploaded and photos finished."""

    def __init__(self, bars: rich.Progress, total_bytes: int, photos: int) -> None:
        self._bars = bars
        self._uploaded = bars.add_task("Upload", total=total_bytes, unit="bytes")
        self._finished = bars.add_task("Photos", total=photos, unit="photos")

    def upload_callback(self) -> Callable[[int, int], None]:
        """Return the progress callback of one upload; a retried upload subtracts the bytes of the failed attempt."""
        before = 0

        def report(sent: int, _: int) -> None:
            nonlocal before
            self._bars.advance(self._uploaded, sent - before)
            before = sent

        return report

    def retry_callback(self, item: BatchItem) -> Callable[[Job], None]:
        """Return a callback that gets the job at each change, and prints why an attempt failed that is repeated."""
        reported = 0

        def report(job: Job) -> None:
            nonlocal reported
            failed = job.attempts if job.status == JobStatus.QUEUED else job.attempts - 1
            if job.error is None or job.status in FINISHED or failed <= reported:
                return
            reported = failed
            text = f"{item.photo.path}: attempt {failed} of {job.max_attempts} failed, trying again: "
            self._note(f"{text}{job.error.message} ({job.error.code})")

        return report

    def _note(self, text: str) -> None:
        """Print a line above the bars."""
        self._bars.console.print(Text(printable(text)), soft_wrap=True)

    def advance_photos(self) -> None:
        """Count one more photo as finished, whether it succeeded or failed."""
        self._bars.advance(self._finished)


class _AmountColumn(rich.ProgressColumn):
    def render(self, task: rich.Task) -> Text:
        column = rich.DownloadColumn() if task.fields["unit"] == "bytes" else rich.MofNCompleteColumn()
        return column.render(task)
