"""Many photos through one pipeline, several at a time. A photo's failure is its own; what bars all of them ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from pixelflow.cli.failures import would_meet_all
from pixelflow.cli.naming import prefixes
from pixelflow.cli.pipelines import Step, output_ids
from pixelflow.cli.progress import Progress
from pixelflow.client import AsyncClient, ClientError, JobFailedError, TransferError, WaitTimeoutError
from pixelflow.client.session import Session
from pixelflow.contracts.jobs import Job, JobStatus, Output
from pixelflow.contracts.pipeline import EXTENSIONS

AT_ONCE = 8
"""Photos under way: enough to overlap one's upload with another's transform."""


@dataclass
class Photo:
    """One of them, and what became of it."""

    path: Path
    prefix: str
    job_id: UUID | None = None
    status: JobStatus | None = None
    job: Job | None = None
    files: dict[str, Path] = field(default_factory=dict)
    """Where the output of each step was downloaded to."""
    error: ClientError | None = None

    @property
    def skipped(self) -> bool:
        """Whether it was not tried, another photo having shown that it would be in vain."""
        return self.job_id is None and self.error is None


@dataclass(frozen=True)
class Order:
    """What is wanted."""

    photos: Sequence[Path]
    steps: list[Step]
    wait: bool
    folder: Path | None
    """Where outputs go; None leaves them where they are."""
    timeout: float


def run(order: Order, session: Session, progress: Progress) -> list[Photo]:
    """Do it; what became of each photo, in the order given."""
    return asyncio.run(_Batch(order, session, progress).run())


class _Batch:
    def __init__(self, order: Order, session: Session, progress: Progress) -> None:
        self._order = order
        self._step_ids = output_ids(order.steps)
        self._session = session
        self._progress = progress
        self._barred = False

    async def run(self) -> list[Photo]:
        names = prefixes(self._order.photos, self._step_ids, self._order.folder or Path())
        photos = [Photo(path, prefix) for path, prefix in zip(self._order.photos, names, strict=True)]
        turns = asyncio.Semaphore(AT_ONCE)
        async with AsyncClient(session=self._session) as client, asyncio.TaskGroup() as group:
            for photo in photos:
                group.create_task(self._in_turn(turns, client, photo))
        return photos

    async def _in_turn(self, turns: asyncio.Semaphore, client: AsyncClient, photo: Photo) -> None:
        async with turns:
            if self._barred:
                return
            try:
                await self._process(client, photo)
            except ClientError as error:
                self._note(photo, error)
            self._progress.finished()

    async def _process(self, client: AsyncClient, photo: Photo) -> None:
        started = await client.submit(photo.path, self._order.steps, on_progress=self._progress.upload())
        photo.job_id, photo.status = started.job_id, JobStatus(started.status)
        if not self._order.wait:
            return
        photo.job = await client.wait(started.job_id, timeout=self._order.timeout)
        photo.status = photo.job.status
        if self._order.folder is not None:
            for output in photo.job.outputs:
                path = self._order.folder / self._name(photo, output)
                photo.files[output.step_id] = await client.download(output, path)

    def _name(self, photo: Photo, output: Output) -> str:
        if output.step_id not in self._step_ids:
            # It becomes part of a path: only names that were asked for.
            raise TransferError("The job has an output that no step asked for")
        return f"{photo.prefix}-{output.step_id}.{EXTENSIONS[output.format]}"

    def _note(self, photo: Photo, error: ClientError) -> None:
        photo.error = error
        if isinstance(error, (JobFailedError, WaitTimeoutError)):
            photo.job, photo.status = error.job, error.job.status
        self._barred = self._barred or would_meet_all(error)
