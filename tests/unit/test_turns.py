"""How the requests of users take turns on a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from pixelflow.controlplane.api.turns import ACTIVE_SECONDS, Turns
from pixelflow.errors import OverloadedError

SECONDS = 60.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def turns(clock: Clock) -> Turns:
    return Turns(6, wait_seconds=SECONDS, clock=clock)


@pytest.fixture
async def held() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def _is_free(turns: Turns, user_id: str) -> bool:
    """Whether a request of the user would have a turn at once."""
    task = asyncio.create_task(_use(turns, user_id))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    is_free = task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return is_free


async def _use(turns: Turns, user_id: str) -> None:
    async with turns.of(user_id):
        pass


async def test_one_user_has_all_turns(turns: Turns, held: AsyncExitStack) -> None:
    for _ in range(5):
        await held.enter_async_context(turns.of("a"))
    assert await _is_free(turns, "a")
    await held.enter_async_context(turns.of("a"))
    assert not await _is_free(turns, "a")
    assert await _is_free(turns, "b")


@pytest.mark.parametrize(("others", "share"), [(1, 3), (2, 2), (5, 1), (40, 1)])
async def test_active_users_have_equal_shares_and_at_least_one_turn(
    turns: Turns, held: AsyncExitStack, others: int, share: int
) -> None:
    for n in range(others):
        await _use(turns, f"other-{n}")
    for _ in range(share):
        assert await _is_free(turns, "a")
        await held.enter_async_context(turns.of("a"))
    assert not await _is_free(turns, "a")


async def test_users_who_sent_nothing_for_a_while_leave_their_turns(
    turns: Turns, clock: Clock, held: AsyncExitStack
) -> None:
    await _use(turns, "b")
    for _ in range(3):
        await held.enter_async_context(turns.of("a"))
    clock.now += ACTIVE_SECONDS / 2
    assert not await _is_free(turns, "a")
    clock.now += ACTIVE_SECONDS / 2
    assert await _is_free(turns, "a")


async def test_a_request_begins_when_another_one_of_its_user_ends(turns: Turns) -> None:
    await asyncio.gather(*(_use(turns, f"other-{n}") for n in range(9)))
    order: list[str] = []
    entered, released = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with turns.of("a"):
            entered.set()
            await released.wait()
            order.append("first")

    async def second() -> None:
        await entered.wait()
        async with turns.of("a"):
            order.append("second")

    tasks = [asyncio.create_task(first()), asyncio.create_task(second())]
    await entered.wait()
    await _use(turns, "b")
    released.set()
    await asyncio.gather(*tasks)
    assert order == ["first", "second"]


async def test_a_suspended_turn_is_free_for_the_users_other_requests(turns: Turns) -> None:
    await asyncio.gather(*(_use(turns, f"other-{n}") for n in range(9)))
    async with turns.of("a") as turn:
        assert not await _is_free(turns, "a")
        async with turn.suspended():
            assert await _is_free(turns, "a")
        assert not await _is_free(turns, "a")
    assert await _is_free(turns, "a")


async def test_a_turn_that_ends_while_it_is_suspended_is_given_back_once(turns: Turns) -> None:
    await asyncio.gather(*(_use(turns, f"other-{n}") for n in range(9)))
    with pytest.raises(RuntimeError):
        async with turns.of("a") as turn, turn.suspended():
            raise RuntimeError
    async with turns.of("a"):
        assert not await _is_free(turns, "a")


async def test_a_request_that_waits_too_long_is_refused_and_leaves_its_turn(clock: Clock) -> None:
    turns = Turns(1, wait_seconds=0.01, clock=clock)
    async with turns.of("a"):
        with pytest.raises(OverloadedError, match="send fewer at once"):
            await _use(turns, "a")
    await _use(turns, "a")


async def test_a_request_that_is_canceled_while_it_waits_leaves_its_turn(turns: Turns) -> None:
    await asyncio.gather(*(_use(turns, f"other-{n}") for n in range(9)))
    async with turns.of("a"):
        assert not await _is_free(turns, "a")  # canceled
    assert await _is_free(turns, "a")


async def test_only_active_users_are_kept(turns: Turns, clock: Clock) -> None:
    for n in range(100):
        clock.now += ACTIVE_SECONDS / 2
        await _use(turns, f"user-{n}")
    assert len(turns._active_until) == 2
