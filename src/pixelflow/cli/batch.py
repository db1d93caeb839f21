"""Runs many photos through one pipeline, several at a time.

A photo's error must not stop the others, unless every other photo would fail the same way.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from uuid import UUID

from rich import progress as rich
from rich.console import Console
from rich.text import Text

from pixelflow.cli.errors import is_fatal_for_batch
from pixelflow.cli.pipelines import Step, output_ids
from pixelflow.client import AsyncClient, ClientError, JobFailedError, TransferError, WaitTimeoutError
from pixelflow.client.session import Session
from pixelflow.client.sources import ExistingSource
from pixelflow.contracts.jobs.responses import Job, Output
from pixelflow.contracts.jobs.states import Priority
from pixelflow.contracts.preset_templates import Scalar
from pixelflow.imaging.source_options import SourceOptions

CONCURRENCY = 8
"""Photos in progress at a time: enough to overlap one photo's upload with another's transform."""


@dataclass
class BatchItem:
    """A photo and its result."""

    path: Path
    prefix: str
    """What the names of its downloaded outputs begin with."""
    source: ExistingSource | None = None
    """Where the photo is, if it is not a file to upload; then ``path`` is only its name."""
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


@dataclass(frozen=True)
class BatchOptions:
    """What to do with the photos."""

    photos: Sequence[Path]
    """Files to upload."""
    sources: Sequence[ExistingSource]
    """Further photos, which are there already."""
    steps: list[Step]
    """Of the preset, if there is one."""
    wait: bool
    folder: Path | None
    """Where to download outputs; None downloads nothing."""
    timeout: float
    """Seconds to wait for each job."""
    priority: Priority = Priority.NORMAL
    webhook_url: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    source: SourceOptions | None = None
    preset: str | None = None
    parameters: Mapping[str, Scalar] = field(default_factory=dict)


def run_batch(options: BatchOptions, session: Session) -> list[BatchItem]:
    """Process the photos and return their results in the same order."""
    with _progress_bars(options) as progress:
        return asyncio.run(_Batch(options, session, progress).run())


class _Batch:
    def __init__(self, options: BatchOptions, session: Session, progress: _Progress) -> None:
        self._options = options
        self._step_ids = output_ids(options.steps)
        self._session = session
        self._progress = progress
        self._aborted = False

    async def run(self) -> list[BatchItem]:
        photos, sources = self._options.photos, self._options.sources
        paths = [*photos, *(Path(source.name) for source in sources)]
        prefixes = output_prefixes(paths, self._step_ids, self._options.folder or Path())
        existing = [*(None for _ in photos), *sources]
        items = [BatchItem(*each) for each in zip(paths, prefixes, existing, strict=True)]
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
        started = await client.submit(
            item.source or item.path,
            None if self._options.preset else self._options.steps,
            preset=self._options.preset,
            parameters=self._options.parameters,
            priority=self._options.priority,
            metadata=self._options.metadata,
            webhook_url=self._options.webhook_url,
            source=self._options.source,
            on_progress=self._progress.upload_callback(),
        )
        item.job_id, item.status = started.job_id, started.status
        if not self._options.wait:
            return
        item.job = await client.wait(started.job_id, timeout=self._options.timeout)
        item.status = item.job.status
        if self._options.folder is not None:
            for output in item.job.outputs:
                path = self._options.folder / self._file_name(item, output)
                item.files[output.step_id] = await client.download(output, path)

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


# ── Names of downloaded outputs ──────────────────────────────────────────────────────────────────


def output_prefixes(photos: Sequence[Path], step_ids: Sequence[str], folder: Path) -> list[str]:
    """Return a prefix per photo such that no two names ``{prefix}-{step}`` are equal: its stem, numbered if needed.

    No output gets the name of a photo in ``folder`` either. Names that differ only in case count as equal, as they are
    on some file systems.
    """
    taken = {photo.stem.casefold() for photo in photos if photo.resolve().parent == folder.resolve()}
    return [_free_prefix(photo.stem, step_ids, taken) for photo in photos]


def _free_prefix(stem: str, step_ids: Sequence[str], taken: set[str]) -> str:
    for number in count(1):
        prefix = stem if number == 1 else f"{stem}-{number}"
        names = {f"{prefix}-{step_id}".casefold() for step_id in step_ids}
        if not names & taken:
            taken |= names
            return prefix
    raise AssertionError  # count() is infinite


# ── Progress ─────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _progress_bars(options: BatchOptions) -> Iterator[_Progress]:
    """Show progress bars on stderr if it is a terminal."""
    columns = rich.TextColumn("{task.description}"), rich.BarColumn(), _AmountColumn(), rich.TimeElapsedColumn()
    with rich.Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bars:
        total_bytes = sum(photo.stat().st_size for photo in options.photos)
        yield _Progress(bars, total_bytes, len(options.photos) + len(options.sources))


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

    def advance_photos(self) -> None:
        """Count one more photo as finished, whether it succeeded or failed."""
        self._bars.advance(self._finished)


class _AmountColumn(rich.ProgressColumn):
    def render(self, task: rich.Task) -> Text:
        column = rich.DownloadColumn() if task.fields["unit"] == "bytes" else rich.MofNCompleteColumn()
        return column.render(task)
