"""The watchers of one API process: requests that wait for changes of jobs.

One loop reads for all of them: as soon as a change is announced, and about once a second in any case. It makes one
statement each time, and two more once a second, however many wait. A watcher holds no connection to Postgres. One that
does not wait, because its client reads slowly, is not read for; it continues at its position later. So nothing is
buffered.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from pixelflow.adapters.postgres.database import EVERYONE, AsyncConnection, AsyncDatabase
from pixelflow.controlplane.keys import store as keys_store
from pixelflow.controlplane.live import store
from pixelflow.controlplane.live.store import Change, ChangePage, ProgressRow, Reading, ReadPosition
from pixelflow.errors import PixelflowError, TooManyStreamsError, UnauthenticatedError

LOOK_SECONDS = (0.7, 1.1)
"""Shortest and longest time until the loop reads without an announcement: random, so that processes take turns."""
MIN_PAUSE_SECONDS = 0.05
"""Between two readings, however many changes are announced."""
MAX_TRACKED = 100
"""Jobs in progress of one watcher whose progress is read."""
FREE_SHARE = 5
"""A user may have a fifth of the places that others leave free, and at least one: five users who take all that they can
have 67 % of the places, and ten 89 %."""
_RETRY_AFTER_SECONDS = 2
_OWNER = "watches"
"""The owner of the loop's connection."""

_log = structlog.get_logger(__name__)


class ProcessStoppingError(Exception):
    """The process stops: watchers end, so that their clients go to another one."""


@dataclass(frozen=True)
class ChangeBatch:
    """What a watcher is given at once."""

    changes: Sequence[Change] = ()
    progress: Mapping[UUID, ProgressRow] = field(default_factory=dict)
    """Of tracked jobs whose progress changed."""


@dataclass(eq=False)
class Watcher:
    """A request that waits for changes of a user's jobs, or of one of them."""

    user_id: str
    key_id: str | None
    """The API key behind the request; ``None``: it has a token."""
    job_id: UUID | None
    position: ReadPosition
    tracked: dict[UUID, ProgressRow | None] = field(default_factory=dict)
    """The last known progress of jobs whose progress the watcher wants to know."""
    is_stale: bool = False
    """Whether a change may have happened since the watcher was read for."""
    is_revoked: bool = False
    waiting: asyncio.Future[ChangeBatch] | None = None

    @property
    def reading(self) -> Reading:
        """What is read for it."""
        return Reading(self.user_id, self.job_id, self.position)

    def track(self, changes: Iterable[Change]) -> None:
        """Track the jobs that are in progress after these changes."""
        for change in changes:
            if change.status == "processing" and not change.is_erased and len(self.tracked) < MAX_TRACKED:
                self.tracked.setdefault(change.job_id, None)
            else:
                self.tracked.pop(change.job_id, None)


@dataclass(frozen=True)
class WatcherLimits:
    """How many watchers one process has at most."""

    total: int
    per_user: int


class Watches:
    """The watchers of this process. Of its event loop only."""

    def __init__(
        self,
        database: AsyncDatabase,
        limits: WatcherLimits,
        *,
        on_count: Callable[[int], None] = lambda _: None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """``on_count`` is called with the number of watchers when it changes."""
        self._database = database
        self._limits = limits
        self._on_count = on_count
        self._jitter = jitter
        self._by_user: defaultdict[str, dict[Watcher, None]] = defaultdict(dict)
        self._count = 0
        self._waiting: dict[Watcher, asyncio.Future[ChangeBatch]] = {}
        self._any_waiting = asyncio.Event()
        self._is_due = asyncio.Event()
        self._is_stopping = False
        self._is_down = False
        self._look_at = 0.0
        """When the loop reads without an announcement, and keys and progress, too; in the event loop's time."""

    # ── Watchers ─────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def watcher(
        self, user_id: str, key_id: str | None, job_id: UUID | None, position: ReadPosition
    ) -> Iterator[Watcher]:
        """Take a place for a watcher while the context lasts.

        Raises:
            TooManyStreamsError: the user or the process has no more places.
        """
        self._check_places(len(self._by_user.get(user_id, ())))
        watcher = Watcher(user_id, key_id, job_id, position)
        self._by_user[user_id][watcher] = None
        self._set_count(self._count + 1)
        try:
            yield watcher
        finally:
            del self._by_user[user_id][watcher]
            if not self._by_user[user_id]:
                del self._by_user[user_id]
            self._set_count(self._count - 1)

    def _check_places(self, held: int) -> None:
        """Check that a user who has that many places may have another one."""
        free = self._limits.total - self._count
        if free <= 0:
            raise TooManyStreamsError(
                "The server has no more places for streams and waiting requests; try again shortly, or without `wait`",
                retry_after=_RETRY_AFTER_SECONDS,
            )
        allowed = min(self._limits.per_user, max(1, (free + held) // FREE_SHARE))
        if held >= allowed:
            raise TooManyStreamsError(
                f"You may have {allowed} streams and waiting requests at once at present; close some, "
                "watch all jobs by one stream of `GET /v1/events`, or use webhooks",
                retry_after=_RETRY_AFTER_SECONDS,
            )

    def _set_count(self, count: int) -> None:
        self._count = count
        self._on_count(count)

    async def next(self, watcher: Watcher, *, seconds: float) -> ChangeBatch:
        """Wait for changes, at most so long; the batch is empty if there were none. Moves the watcher's position.

        Raises:
            UnauthenticatedError: the key of the watcher was revoked, or has expired.
            ProcessStoppingError: the process stops.
        """
        self._check(watcher)
        future = self._waiting[watcher] = asyncio.get_running_loop().create_future()
        self._any_waiting.set()
        if watcher.is_stale:
            self._is_due.set()
        try:
            await asyncio.wait({future}, timeout=seconds)
        finally:
            self._waiting.pop(watcher, None)
        self._check(watcher)
        return future.result() if future.done() else ChangeBatch()

    def _check(self, watcher: Watcher) -> None:
        if watcher.is_revoked:
            raise UnauthenticatedError("The API key was revoked or has expired while the request waited")
        if self._is_stopping:
            raise ProcessStoppingError

    def on_users(self, users: Iterable[str]) -> None:
        """Read soon for the watchers of these users, whose jobs have changed."""
        for user_id in users:
            for watcher in self._by_user.get(user_id, ()):
                watcher.is_stale = True
                if watcher in self._waiting:
                    self._is_due.set()

    def stop(self) -> None:
        """End all watchers, and those that come later."""
        self._is_stopping = True
        for watcher in list(self._waiting):
            self._deliver(watcher, ChangeBatch())

    # ── The loop ─────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Read for the watchers until the task is canceled."""
        while True:
            await self._wait_until_due()
            try:
                await self._read()
            except PixelflowError as error:
                if not self._is_down:
                    _log.warning("changes not read: database unavailable", code=error.code)
                self._is_down = True
            except Exception:  # noqa: BLE001  # a bug must not end the loop: all watchers would wait in vain
                _log.exception("changes not read")
            else:
                self._is_down = False
            await asyncio.sleep(LOOK_SECONDS[0] if self._is_down else MIN_PAUSE_SECONDS)

    async def _wait_until_due(self) -> None:
        await self._any_waiting.wait()
        try:
            async with asyncio.timeout_at(self._look_at):
                await self._is_due.wait()
        except TimeoutError:
            pass
        self._is_due.clear()

    async def _read(self) -> None:
        watchers = list(self._waiting)  # who waits the longest is first
        if not watchers:
            self._any_waiting.clear()
            return
        for watcher in watchers:
            watcher.is_stale = False  # announcements from now on may be of changes that the statement does not see
        async with self._database.connection(EVERYONE, owner=_OWNER) as connection:
            progress = await self._look(connection, watchers)
            pages = await store.read_changes(connection, [watcher.reading for watcher in watchers])
        for watcher, page in zip(watchers, pages, strict=True):
            self._move(watcher, page, _new_progress(watcher, progress))

    async def _look(self, connection: AsyncConnection, watchers: Sequence[Watcher]) -> Mapping[UUID, ProgressRow]:
        """Check the keys of the watchers and return the progress of tracked jobs; nothing if it is not yet time."""
        now = asyncio.get_running_loop().time()
        if now < self._look_at:
            return {}
        shortest, longest = LOOK_SECONDS
        self._look_at = now + shortest + (longest - shortest) * self._jitter()
        keys = {watcher.key_id for watcher in watchers if watcher.key_id is not None}
        valid = await keys_store.find_active_among(connection, keys) if keys else set()
        for watcher in watchers:
            watcher.is_revoked = watcher.key_id is not None and watcher.key_id not in valid
        tracked = {job_id for watcher in watchers for job_id in watcher.tracked}
        return await store.find_progress(connection, tracked) if tracked else {}

    def _move(self, watcher: Watcher, page: ChangePage, progress: Mapping[UUID, ProgressRow]) -> None:
        if watcher not in self._waiting:
            return  # it gave up meanwhile; what was read for it is read again
        if watcher.is_revoked:
            self._deliver(watcher, ChangeBatch())
            return
        watcher.position = page.position
        if not page.is_last:
            watcher.is_stale = True
            self._is_due.set()
        watcher.tracked.update(progress)
        watcher.track(page.changes)
        if page.changes or progress:
            self._deliver(watcher, ChangeBatch(page.changes, progress))

    def _deliver(self, watcher: Watcher, batch: ChangeBatch) -> None:
        future = self._waiting.pop(watcher, None)
        if future is not None and not future.done():
            future.set_result(batch)


def _new_progress(watcher: Watcher, progress: Mapping[UUID, ProgressRow]) -> dict[UUID, ProgressRow]:
    return {
        job_id: progress[job_id]
        for job_id, known in watcher.tracked.items()
        if job_id in progress and progress[job_id] != known
    }
