"""The loop that reads for all waiting requests of a process: what it costs, and what Postgres being away does to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from itertools import count
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.integration.job_rows import put

from pixelflow.adapters.postgres.database import AsyncConnection, AsyncDatabase, Connection
from pixelflow.controlplane.live.store import ReadPosition
from pixelflow.controlplane.live.watches import Watcher, WatcherLimits, Watches
from pixelflow.errors import StoreUnavailableError, TooManyStreamsError

LIMITS = WatcherLimits(total=300, per_user=50)


class CountingDatabase(AsyncDatabase):
    """Counts how often a connection is used; it can be made unavailable."""

    uses = 0
    is_away = False

    @asynccontextmanager
    async def connection(self, *args: Any, **named: Any) -> AsyncIterator[AsyncConnection]:  # noqa: ANN401
        self.uses += 1
        if self.is_away:
            raise StoreUnavailableError("away")
        async with super().connection(*args, **named) as opened:
            yield opened


@pytest.fixture
async def counting(connection: Connection, database_url: str) -> AsyncIterator[CountingDatabase]:
    del connection  # the fixture empties the tables first
    async with CountingDatabase(database_url, max_connections=2, application="test") as opened:
        yield opened


@pytest.fixture
async def watches(counting: CountingDatabase) -> AsyncIterator[Watches]:
    made = Watches(counting, LIMITS)
    loop = asyncio.create_task(made.run())
    yield made
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)


async def _ended(watches: Watches, watcher: Watcher) -> None:
    """Wait until the watcher's job is canceled."""
    while not any(each.status == "canceled" for each in (await watches.next(watcher, seconds=30)).changes):
        pass


async def test_two_hundred_who_wait_cost_about_one_use_of_the_database_a_second(
    connection: Connection, counting: CountingDatabase, watches: Watches
) -> None:
    jobs = [put(connection, "created", user_id=f"user-{number % 20}") for number in range(200)]
    with ExitStack() as stack:
        watchers = [
            stack.enter_context(watches.watcher(f"user-{number % 20}", None, job_id, ReadPosition("")))
            for number, job_id in enumerate(jobs)
        ]
        waiting = [asyncio.create_task(_ended(watches, watcher)) for watcher in watchers]
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.wait(waiting, timeout=3)
        seconds = loop.time() - began
        assert not any(task.done() for task in waiting)
        assert 1 <= counting.uses <= 2 + 2 * seconds
        await asyncio.to_thread(
            connection.execute, "UPDATE jobs SET status = 'canceled', finished_at = now() WHERE status = 'created'"
        )
        watches.on_users(f"user-{number}" for number in range(20))
        async with asyncio.timeout(30):
            await asyncio.gather(*waiting)


async def test_one_who_does_not_wait_is_not_read_for_and_misses_nothing(
    connection: Connection, watches: Watches
) -> None:
    with watches.watcher("user", None, None, ReadPosition.of_event_id(1)) as slow:
        slow.is_stale = True
        first = put(connection, "created")
        assert [each.job_id for each in (await watches.next(slow, seconds=30)).changes] == [first]
        position = slow.position
        later = {put(connection, "created") for _ in range(5)}
        with watches.watcher("user", None, None, position) as other:
            other.is_stale = True
            assert {each.job_id for each in (await watches.next(other, seconds=30)).changes} == later
        assert slow.position == position
        slow.is_stale = True
        assert {each.job_id for each in (await watches.next(slow, seconds=30)).changes} == later


async def test_an_outage_of_the_database_is_logged_once_and_ends_by_itself(
    connection: Connection, counting: CountingDatabase, watches: Watches
) -> None:
    counting.is_away = True
    with capture_logs() as logs, watches.watcher("user", None, None, ReadPosition.of_event_id(1)) as watcher:
        assert not (await watches.next(watcher, seconds=2)).changes
        counting.is_away = False
        job_id = put(connection, "created")
        watches.on_users(["user"])
        assert [each.job_id for each in (await watches.next(watcher, seconds=30)).changes] == [job_id]
    assert [entry["event"] for entry in logs] == ["changes not read: database unavailable"]


async def test_places_are_limited_by_user_and_process_and_given_back(watches: Watches) -> None:
    with ExitStack() as stack:
        for number in range(LIMITS.total):
            stack.enter_context(watches.watcher(f"user-{number}", None, None, ReadPosition("")))
        with pytest.raises(TooManyStreamsError, match="server"), watches.watcher("x", None, None, ReadPosition("")):
            pass
    with ExitStack() as stack:
        for _ in range(LIMITS.per_user):
            stack.enter_context(watches.watcher("user", None, None, ReadPosition("")))
        with pytest.raises(TooManyStreamsError, match="have 50"), watches.watcher("user", None, None, ReadPosition("")):
            pass
        with watches.watcher("other", None, None, ReadPosition("")):
            pass


def test_users_who_take_all_they_can_leave_places_to_others(watches: Watches) -> None:
    with ExitStack() as stack:
        counts: list[int] = []
        for number in range(10):
            with suppress(TooManyStreamsError):
                for taken in count(1):
                    stack.enter_context(watches.watcher(f"greedy-{number}", None, None, ReadPosition("")))
                    counts[number:] = [taken]
        assert counts == [50, 50, 40, 32, 25, 20, 16, 13, 10, 8]
        with pytest.raises(TooManyStreamsError, match="have 17"):
            stack.enter_context(watches.watcher("greedy-0", None, None, ReadPosition("")))
        for number in range(36):
            stack.enter_context(watches.watcher(f"other-{number}", None, None, ReadPosition("")))
