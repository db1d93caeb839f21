"""Starts jobs with ``auto_start`` when their sources are there.

Each job is started by the use case of ``POST /v1/jobs/{id}/start``, so all its rules apply, and a job that its owner
starts meanwhile is started once. Never reads or moves the bytes of an image.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from enum import StrEnum

import structlog

from pixelflow.adapters.postgres.database import AsyncDatabase, of_user
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.contracts.jobs.sources import SourceType
from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.controlplane.jobs import awaited, transitions
from pixelflow.controlplane.jobs.awaited import VISITED_USERS, AwaitedSource
from pixelflow.controlplane.jobs.starts import JobStarts
from pixelflow.controlplane.jobs.uploads import remove_refused
from pixelflow.errors import (
    DependencyError,
    JobAlreadyFinishedError,
    NotFoundError,
    PixelflowError,
    SourceMissingError,
    SourceTooLargeError,
)

BATCH = 64
"""Sources that one tick checks."""
TICK_SECONDS = 0.25
"""Shortest time between two ticks that check sources: with ``BATCH``, at most 256 checks per second and controller."""
CONCURRENT = 16
"""Checks of one tick at once."""
LEASE = timedelta(seconds=60)
"""Of a check: longer than a tick takes. If the process dies, its checks are due again after this time."""
MAX_FAILURES = 3
"""Of a dependency, per tick. Each may be a timeout, and if it is unavailable all checks fail."""

_log = structlog.get_logger(__name__)


class CheckOutcome(StrEnum):
    """What a check of an awaited source found."""

    STARTED = "started"
    WAITING = "waiting"
    """The source is not there yet."""
    REFUSED = "refused"
    """The job can't run with the source, and failed."""
    ENDED = "ended"
    """The job was started, canceled or erased by its owner meanwhile."""
    UNAVAILABLE = "unavailable"
    """A dependency failed: the check is repeated."""


_REMOVED = {CheckOutcome.STARTED, CheckOutcome.REFUSED, CheckOutcome.ENDED}


class AutoStarter:
    """A controller loop. Any number of controllers share the checks."""

    name = "auto_starter"

    def __init__(
        self,
        database: AsyncDatabase,
        objects: ObjectStorage,
        starts: JobStarts,
        *,
        upload_grace: timedelta,
        on_check: Callable[[CheckOutcome], None] = lambda _: None,
        on_change: Callable[[str], None] = lambda _: None,
        tick_seconds: float = TICK_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create the loop.

        Args:
            database: connections for all users.
            objects: where uploads arrive.
            starts: starts jobs of their users.
            upload_grace: how long after a job's end its upload may still arrive.
            on_check: called with the outcome of each check.
            on_change: called with the owner of each job that failed; ``starts`` reports those that were started.
            tick_seconds: shortest time between two ticks that check sources.
            clock: returns seconds.
        """
        self._database = database
        self._objects = objects
        self._starts = starts
        self._upload_grace = upload_grace
        self._on_check = on_check
        self._on_change = on_change
        self._tick_seconds = tick_seconds
        self._clock = clock
        self._next_tick = 0.0
        self._last_visited = ""
        self._places = asyncio.Semaphore(CONCURRENT)
        self._failures: list[DependencyError] = []

    async def run_once(self) -> int:
        """Check at most ``BATCH`` sources that are due; returns how many.

        Raises:
            DependencyError: the database, or for several checks object storage, does not answer.
        """
        await asyncio.sleep(max(0.0, self._next_tick - self._clock()))
        sources = await self._lease_due()
        if not sources:
            return 0
        self._next_tick = self._clock() + self._tick_seconds
        self._failures = []
        outcomes = await asyncio.gather(*(self._check_in_turn(source) for source in sources))
        await self._record(sources, outcomes)
        for outcome in outcomes:
            self._on_check(outcome)
        if len(self._failures) >= MAX_FAILURES or len(self._failures) == len(sources):
            raise self._failures[0]
        return len(sources)

    async def _lease_due(self) -> list[AwaitedSource]:
        async with self._database.connection() as connection:
            users, are_more_due = await awaited.longest_due(connection)
            if not users:
                return []
            if are_more_due:
                visited = await awaited.visit(connection, after=self._last_visited)
                self._last_visited = visited[-1] if len(visited) == VISITED_USERS else ""
                users = list({*users, *visited})
            return await awaited.lease(connection, users, seconds=LEASE, limit=BATCH)

    async def _record(self, sources: Sequence[AwaitedSource], outcomes: Sequence[CheckOutcome]) -> None:
        ids = {
            outcome: [s.job_id for s, found in zip(sources, outcomes, strict=True) if found is outcome]
            for outcome in CheckOutcome
        }
        async with self._database.connection() as connection:
            if over := [job_id for outcome in _REMOVED for job_id in ids[outcome]]:
                await awaited.remove(connection, over)
            if waiting := ids[CheckOutcome.WAITING]:
                await awaited.postpone(connection, waiting)
            if unavailable := ids[CheckOutcome.UNAVAILABLE]:
                await awaited.release(connection, unavailable)

    # ── One check ────────────────────────────────────────────────────────────────────────────────

    async def _check_in_turn(self, source: AwaitedSource) -> CheckOutcome:
        async with self._places:
            if len(self._failures) >= MAX_FAILURES:
                return CheckOutcome.UNAVAILABLE
            log = _log.bind(job_id=str(source.job_id), user_id=source.user_id)
            try:
                return await self._check(source, log)
            except DependencyError as error:
                self._failures.append(error)
                return CheckOutcome.UNAVAILABLE
            except Exception:  # a bug that one job triggers must not delay the others
                log.exception("job not started")
                return CheckOutcome.WAITING

    async def _check(self, source: AwaitedSource, log: structlog.stdlib.BoundLogger) -> CheckOutcome:
        is_upload = source.source_type == SourceType.S3_PRESIGNED
        if source.status != JobStatus.CREATED:
            return CheckOutcome.ENDED
        if is_upload and not source.is_in_parts and await self._objects.find(source.source_key) is None:
            return CheckOutcome.WAITING  # the start itself looks for parts
        try:
            await self._starts.start(source.user_id, source.job_id, traceparent=source.traceparent, keep_refused=True)
        except (NotFoundError, JobAlreadyFinishedError):
            return CheckOutcome.ENDED
        except (SourceMissingError, SourceTooLargeError) as error:
            if is_upload and isinstance(error, SourceMissingError):  # deleted since, or parts are missing
                return CheckOutcome.WAITING
            return await self._refuse(source, error, log, is_upload=is_upload)
        log.info("job started by itself")
        return CheckOutcome.STARTED

    async def _refuse(
        self, source: AwaitedSource, error: PixelflowError, log: structlog.stdlib.BoundLogger, *, is_upload: bool
    ) -> CheckOutcome:
        if not await self._fail(source, error):
            return CheckOutcome.ENDED
        log.info("job failed: it can't run with its source", code=error.code)
        if is_upload:  # after the job has failed: a controller that takes over would wait for a deleted upload
            await remove_refused(self._objects, source.source_key)
        return CheckOutcome.REFUSED

    async def _fail(self, source: AwaitedSource, error: PixelflowError) -> bool:
        async with self._database.connection(of_user(source.user_id)) as connection:
            is_failed = await transitions.fail_unstarted(
                connection,
                job_id=source.job_id,
                user_id=source.user_id,
                code=error.code,
                message=error.detail,
                upload_grace=self._upload_grace,
            )
        self._on_change(source.user_id)
        return is_failed
