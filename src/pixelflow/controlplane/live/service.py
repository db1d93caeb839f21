"""Waiting for changes of jobs: until a job has finished, or event by event. Must never depend on HTTP."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncConnection, AsyncDatabase, of_user
from pixelflow.contracts.jobs.events import JobEvent, JobEventType, Stage
from pixelflow.contracts.jobs.responses import JobFailure
from pixelflow.contracts.jobs.states import FINISHED, JobStatus
from pixelflow.controlplane.jobs.queries import job_not_found
from pixelflow.controlplane.live import store
from pixelflow.controlplane.live.store import Change, ProgressRow, ReadPosition
from pixelflow.controlplane.live.watches import ChangeBatch, ProcessStoppingError, Watcher, Watches

HEARTBEAT_SECONDS = 15.0
"""Longest time in which a stream sends nothing: proxies close connections that are silent for a minute or less."""
_STAGES = {
    "fetch": Stage.FETCHING,
    "wait": Stage.WAITING,
    "transform": Stage.TRANSFORMING,
    "store": Stage.STORING,
    "finish": Stage.STORING,
}
"""By the worker's names. A stage of a newer worker is not shown."""


@dataclass(frozen=True)
class StreamItem:
    """Something to send; ``event`` is ``None`` for a sign of life."""

    event: JobEvent | None
    event_id: str | None
    """From which a later stream continues; ``None``: more of the same batch follows."""


@dataclass(frozen=True)
class Caller:
    """Who waits."""

    user_id: str
    key_id: str | None
    """Of the API key; ``None``: a token."""


class LiveService:
    """Waits for changes of jobs. The ``user_id`` of a caller comes from the authenticated credentials."""

    def __init__(
        self,
        database: AsyncDatabase,
        watches: Watches,
        *,
        stream_seconds: float,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """``stream_seconds`` is how long a stream lasts at most."""
        self._database = database
        self._watches = watches
        self._stream_seconds = stream_seconds
        self._jitter = jitter

    # ── Long polls ───────────────────────────────────────────────────────────────────────────────

    def waiting(self, caller: Caller, job_id: UUID) -> AbstractContextManager[Watcher]:
        """Take a place for a request that waits for the end of a job. Look at the job after that.

        Raises:
            TooManyStreamsError: there is no place.
        """
        return self._watches.watcher(caller.user_id, caller.key_id, job_id, ReadPosition(""))

    async def wait_until_finished(self, watcher: Watcher, *, seconds: float) -> None:
        """Wait until the watcher's job has finished or was erased, the process stops, or so long.

        Raises:
            UnauthenticatedError: the credential is no longer valid.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (left := until - loop.time()) > 0:
            try:
                batch = await self._watches.next(watcher, seconds=left)
            except ProcessStoppingError:
                return
            if any(_is_last(change) for change in batch.changes):
                return

    # ── Streams ──────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def job_stream(
        self, caller: Caller, job_id: UUID, last_event_id: int | None
    ) -> AsyncIterator[AsyncIterator[StreamItem] | None]:
        """The events of one job until it has finished: first its present state, unless the client has seen that.

        ``None``: the client has seen the last event.

        Raises:
            NotFoundError: the user has no such job.
            TooManyStreamsError: there is no place.
        """
        with self._watches.watcher(caller.user_id, caller.key_id, job_id, ReadPosition("")) as watcher:
            async with self._database.connection(of_user(caller.user_id)) as connection:
                state = await store.find(connection, job_id=job_id, user_id=caller.user_id)
                seen = await _seen_position(connection, last_event_id)
            if state is None:
                raise job_not_found()
            if seen is not None:
                watcher.position = seen
                if _is_last(state) and state.change < int(seen.event_id):
                    yield None
                    return
            watcher.is_stale = True
            yield self._stream(watcher)

    @asynccontextmanager
    async def user_stream(self, caller: Caller, last_event_id: int | None) -> AsyncIterator[AsyncIterator[StreamItem]]:
        """The events of all jobs of the user: first those in the queue or in progress, or what the client missed.

        Raises:
            TooManyStreamsError: there is no place.
        """
        with self._watches.watcher(caller.user_id, caller.key_id, None, ReadPosition("")) as watcher:
            active: list[Change] = []
            async with self._database.connection(of_user(caller.user_id)) as connection:
                seen = await _seen_position(connection, last_event_id)
                if seen is None:
                    active, snapshot = await store.find_active(connection, user_id=caller.user_id)
                    seen = ReadPosition(snapshot)
            watcher.position = seen
            watcher.track(active)
            watcher.is_stale = True
            yield self._stream(watcher, active)

    async def _stream(self, watcher: Watcher, first: list[Change] | None = None) -> AsyncIterator[StreamItem]:
        """Yield items until the last event of a single job, the end of the stream's time, or the process stops."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._stream_seconds * (1 - self._jitter() / 10)  # so that not all come back at once
        batch = ChangeBatch(first or ())
        if watcher.job_id is None:  # at once, so that the client can continue even if it gets nothing else
            for item in _items(watcher, batch):
                yield item
        while (left := until - loop.time()) > 0:
            try:
                batch = await self._watches.next(watcher, seconds=min(HEARTBEAT_SECONDS, left))
            except ProcessStoppingError:
                return
            for item in _items(watcher, batch):
                yield item
            if watcher.job_id is not None and any(_is_last(change) for change in batch.changes):
                return


def _is_last(change: Change) -> bool:
    return change.is_erased or change.status in FINISHED


async def _seen_position(connection: AsyncConnection, last_event_id: int | None) -> ReadPosition | None:
    """The position of a client that has seen that event; ``None``: none, or one of another database."""
    if last_event_id is None or last_event_id > await store.newest_transaction(connection):
        return None
    return ReadPosition.of_event_id(last_event_id)


# ── Events ───────────────────────────────────────────────────────────────────────────────────────


def _items(watcher: Watcher, batch: ChangeBatch) -> Iterator[StreamItem]:
    """The events of a batch. Only the last one has an ID, because a client that has it has the whole batch."""
    changed = {change.job_id for change in batch.changes}
    events: list[JobEvent | None] = [_event_of(change, batch.progress.get(change.job_id)) for change in batch.changes]
    events += [_progress_event(job_id, row) for job_id, row in batch.progress.items() if job_id not in changed]
    last = events.pop() if events else None
    yield from (StreamItem(event, None) for event in events)
    yield StreamItem(last, watcher.position.event_id)


def _event_of(change: Change, progress: ProgressRow | None) -> JobEvent:
    shown = progress if change.status == JobStatus.PROCESSING else None
    return JobEvent(
        type=JobEventType.ERASED if change.is_erased else JobEventType.STATUS,
        job_id=change.job_id,
        status=change.status,
        attempts=change.attempts,
        stage=_STAGES.get(shown.stage) if shown else None,
        percent=shown.percent if shown else None,
        error=JobFailure.model_validate(change.error) if change.error else None,
        finished_at=change.finished_at,
    )


def _progress_event(job_id: UUID, progress: ProgressRow) -> JobEvent:
    return JobEvent(
        type=JobEventType.PROGRESS,
        job_id=job_id,
        status=JobStatus.PROCESSING,
        attempts=progress.attempts,
        stage=_STAGES.get(progress.stage),
        percent=progress.percent,
    )
