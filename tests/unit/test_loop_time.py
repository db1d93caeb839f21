"""How the time of the event loop is divided among users."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.support.garbage import garbage

from pixelflow.controlplane.api.loop_time import (
    ACTIVE_SECONDS,
    ADVANCE_SECONDS,
    MAX_DEBT_SECONDS,
    MAX_WAITING,
    MIN_COST_SECONDS,
    SHARE,
    LoopTime,
)
from pixelflow.errors import TooManyRequestsError

CHEAP = round(ADVANCE_SECONDS / MIN_COST_SECONDS)
"""Requests that begin at once."""


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Requests:
    """Requests of users, and which of them have begun."""

    def __init__(self, wait_seconds: float = 60.0, *, idle: bool = False) -> None:
        self.clock = Clock()
        idle_seconds = math.inf if idle else -math.inf
        self.waits: list[float] = []
        self.loop_time = LoopTime(
            wait_seconds=wait_seconds, idle_seconds=idle_seconds, on_wait=self.waits.append, clock=self.clock
        )
        self.order: list[str] = []
        """The users of the requests that have begun."""
        self.released = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def send(self, user_id: str, count: int = 1, *, seconds: float = 0.0, waits: bool = False) -> None:
        """Send requests that use the loop for so long; they wait for ``released`` then."""

        async def work() -> None:
            self.order.append(user_id)
            self.clock.now += seconds
            if waits:
                await self.released.wait()

        self._tasks += [asyncio.create_task(self.loop_time.run(user_id, work)) for _ in range(count)]

    async def has_begun(self, user_id: str, count: int) -> bool:
        """Whether so many have, after all timers had time to run."""
        await asyncio.sleep(0.15)
        return self.order.count(user_id) == count

    async def sent(self) -> None:
        """Wait until all that were sent have ended."""
        self.released.set()
        await asyncio.gather(*self._tasks)

    async def end(self) -> None:
        self.released.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def test_one_user_never_waits() -> None:
    requests = Requests()
    requests.send("a", 500, seconds=0.1)
    assert await requests.has_begun("a", 500)
    await requests.end()


async def test_beside_others_a_user_waits_after_an_advance() -> None:
    requests = Requests()
    requests.send("b")
    requests.send("a", CHEAP + 5)
    assert await requests.has_begun("a", CHEAP)
    requests.send("b")
    assert await requests.has_begun("b", 2)
    requests.clock.now += 2.5 * MIN_COST_SECONDS / SHARE
    assert await requests.has_begun("a", CHEAP + 3)
    await requests.end()


async def test_what_one_user_had_alone_is_not_held_against_the_user() -> None:
    requests = Requests()
    requests.send("a", 500, seconds=0.1)
    assert await requests.has_begun("a", 500)
    requests.send("b")
    requests.clock.now += 2 * 0.1 / SHARE  # of the latest one
    requests.send("a")
    assert await requests.has_begun("a", 501)
    await requests.end()


async def _after_a_costly_request() -> Requests:
    """Of `a`, beside `b`; its time is over."""
    requests = Requests()
    requests.send("b")
    requests.send("a", seconds=ADVANCE_SECONDS)
    await asyncio.sleep(0)
    requests.clock.now += ADVANCE_SECONDS / SHARE
    requests.send("b")
    return requests


async def test_a_cheap_request_after_a_costly_one_is_charged_its_own_cost() -> None:
    requests = await _after_a_costly_request()
    for _ in range(CHEAP):
        requests.send("a")
        await asyncio.sleep(0)
    assert await requests.has_begun("a", 1 + CHEAP)
    await requests.end()


async def test_a_request_is_charged_for_the_time_of_its_steps() -> None:
    requests = Requests()
    requests.send("b")
    requests.send("a", 2, seconds=4 * ADVANCE_SECONDS)
    assert await requests.has_begun("a", 1)
    requests.send("b")
    requests.clock.now += 4 * ADVANCE_SECONDS / SHARE
    assert await requests.has_begun("a", 2)
    await requests.end()


async def test_what_a_request_waits_for_costs_nothing() -> None:
    requests = Requests()
    requests.send("b")
    requests.send("a", CHEAP, waits=True)
    assert await requests.has_begun("a", CHEAP)
    requests.clock.now += 1
    requests.released.set()
    await asyncio.sleep(0)
    requests.send("b")
    requests.send("a", CHEAP)
    assert await requests.has_begun("a", 2 * CHEAP)
    await requests.end()


async def test_requests_that_wait_begin_when_the_others_have_left() -> None:
    requests = Requests()
    requests.send("b")
    requests.send("a", MAX_WAITING)
    assert await requests.has_begun("a", CHEAP)
    requests.clock.now += ACTIVE_SECONDS + 1e-6
    assert await requests.has_begun("a", MAX_WAITING)
    await requests.end()


async def test_users_with_waiting_requests_divide_the_share() -> None:
    requests = Requests()
    requests.send("c")
    requests.send("a", CHEAP + 10)
    requests.send("b", CHEAP + 10)
    assert await requests.has_begun("a", CHEAP)
    requests.clock.now += 7 * MIN_COST_SECONDS / SHARE
    assert await requests.has_begun("a", CHEAP + 4)
    assert await requests.has_begun("b", CHEAP + 4)
    await requests.end()


async def test_a_loop_that_has_time_begins_what_waits_in_order() -> None:
    requests, order = Requests(idle=True), list[int]()

    def work(number: int) -> Callable[[], Coroutine[Any, Any, None]]:
        async def note() -> None:
            order.append(number)

        return note

    requests.send("b")
    requests.send("a", CHEAP)
    await asyncio.sleep(0)
    await asyncio.gather(*(requests.loop_time.run("a", work(number)) for number in range(20)))
    assert order == list(range(20))
    await requests.end()


async def test_a_loop_that_has_time_begins_requests_of_who_used_least() -> None:
    requests = Requests(idle=True)
    requests.send("c")
    for user_id, seconds in [("a", 1.0), ("b", 0.1)]:
        requests.send(user_id, seconds=seconds)
        requests.send(user_id, 3, waits=True)
    async with asyncio.timeout(60):
        await requests.sent()
    assert "".join(requests.order) == "cab" + "bbb" + "aaa"
    await requests.end()


async def test_a_user_whose_requests_are_in_progress_is_not_forgotten() -> None:
    requests = Requests()
    requests.send("b")
    requests.send("a", waits=True)
    await asyncio.sleep(0)
    requests.clock.now += 2 * ACTIVE_SECONDS
    requests.send("c", CHEAP + 1)
    assert await requests.has_begun("c", CHEAP)
    requests.released.set()
    await asyncio.sleep(0)
    requests.clock.now += 2 * ACTIVE_SECONDS
    assert await requests.has_begun("c", CHEAP + 1)
    requests.send("c", 2 * CHEAP)
    assert await requests.has_begun("c", 3 * CHEAP + 1)
    await requests.end()


async def test_more_waiting_requests_of_a_user_than_the_limit_are_refused() -> None:
    requests = Requests()
    requests.send("b")
    requests.send("a", CHEAP + MAX_WAITING - 1)
    await asyncio.sleep(0)
    assert not requests.loop_time.is_crowded("a")
    last = asyncio.create_task(requests.loop_time.run("a", _nothing))
    await asyncio.sleep(0)
    assert requests.loop_time.is_crowded("a")
    assert not requests.loop_time.is_crowded("b")
    assert not requests.loop_time.is_crowded("of nobody")
    async with asyncio.timeout(30):
        with pytest.raises(TooManyRequestsError, match="fewer at once"):
            await requests.loop_time.run("a", _nothing)
    await requests.loop_time.run("b", _nothing)
    last.cancel()
    await asyncio.gather(last, return_exceptions=True)
    assert not requests.loop_time.is_crowded("a")
    await requests.end()


async def test_a_request_that_waits_too_long_is_refused_and_the_next_one_begins() -> None:
    requests = Requests(wait_seconds=0.01)
    requests.send("b")
    requests.send("a", CHEAP)
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequestsError):
        await requests.loop_time.run("a", _nothing)
    requests.clock.now += 1
    await requests.loop_time.run("a", _nothing)
    await requests.end()


async def test_a_request_that_gave_up_takes_nobodys_time() -> None:
    requests = Requests()
    requests.send("b")
    requests.send("a", CHEAP)
    await asyncio.sleep(0)
    canceled = [asyncio.create_task(requests.loop_time.run("a", _nothing)) for _ in range(10)]
    await asyncio.sleep(0)
    requests.send("a")
    await asyncio.sleep(0)
    for task in canceled:
        task.cancel()
    requests.clock.now += MIN_COST_SECONDS / SHARE + 1e-6
    assert await requests.has_begun("a", CHEAP + 1)
    await requests.end()


async def test_the_context_of_the_wait_ends_before_the_work_begins() -> None:
    requests, told = Requests(), list[str]()

    @contextmanager
    def told_context() -> Iterator[None]:
        told.append("waits")
        yield
        told.append("begins")

    async def work() -> None:
        told.append("works")

    await requests.loop_time.run("a", work, told_context)
    assert told == ["works"]
    requests.send("b")
    requests.send("a", CHEAP)
    await asyncio.sleep(0)
    task = asyncio.create_task(requests.loop_time.run("a", work, told_context))
    await asyncio.sleep(0)
    requests.clock.now += 1
    await task
    assert told == ["works", "waits", "begins", "works"]
    assert set(requests.waits) == {1}
    await requests.end()


async def test_use_of_a_loop_that_had_time_is_held_against_a_user_for_a_short_time_only() -> None:
    requests = Requests(idle=True)
    for _ in range(50):
        requests.send("b")
        requests.send("a", seconds=1.0)
        await asyncio.sleep(0.01)
    requests.loop_time._idle_seconds = -math.inf
    requests.send("b")
    requests.send("a")
    requests.clock.now += (MAX_DEBT_SECONDS + 1) / SHARE  # of all, and of the latest request
    requests.send("b")
    assert await requests.has_begun("a", 51)
    await requests.end()


async def test_requests_that_only_wait_after_a_costly_one_are_charged_little() -> None:
    requests = await _after_a_costly_request()
    requests.send("a", 4, waits=True)
    assert await requests.has_begun("a", 5)
    await requests.end()


async def test_only_active_users_are_kept() -> None:
    requests = Requests()
    for n in range(100):
        requests.clock.now += ACTIVE_SECONDS / 2
        await requests.loop_time.run(f"user-{n}", _nothing)
    assert len(requests.loop_time._users) == 2


# ── The work ─────────────────────────────────────────────────────────────────────────────────────


async def _nothing() -> None:
    pass


async def _returns() -> int:
    await asyncio.sleep(0)
    return 7


async def _raises() -> int:
    await asyncio.sleep(0)
    raise KeyError("x")


async def _catches() -> int:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(0)
        return 8
    return 9


async def test_the_work_returns_raises_and_is_canceled_as_if_it_was_awaited() -> None:
    loop_time = LoopTime(wait_seconds=1)
    assert await loop_time.run("a", _returns) == 7
    with pytest.raises(KeyError):
        await loop_time.run("a", _raises)
    task = asyncio.create_task(loop_time.run("a", _catches))
    await asyncio.sleep(0.01)
    task.cancel()
    assert await task == 8
    task = asyncio.create_task(loop_time.run("a", lambda: asyncio.sleep(60, 9)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await loop_time.run("a", lambda: asyncio.sleep(60))


async def _sleeps() -> int:
    return await asyncio.sleep(60, 9)


@pytest.mark.parametrize("work", [_returns, _raises, _catches, _sleeps])
async def test_the_work_leaves_nothing_to_the_garbage_collector(work: Callable[[], Coroutine[Any, Any, int]]) -> None:
    loop_time = LoopTime(wait_seconds=1)
    with garbage() as left:
        task = asyncio.create_task(loop_time.run("a", work))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        del task
    assert left.isdisjoint({"_Timed", "coroutine", "Task", "frame", "traceback", "CancelledError"})
