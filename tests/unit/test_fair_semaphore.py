"""The division of places among owners."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from pixelflow.adapters.fair_semaphore import FairSemaphore

SECONDS = 5.0


async def _take_all(semaphore: FairSemaphore, owners: Iterable[str]) -> None:
    for owner in owners:
        await semaphore.acquire(owner, seconds=SECONDS)


def _waiters(semaphore: FairSemaphore, owners: Iterable[str], served: list[str]) -> list[asyncio.Task[None]]:
    async def wait(owner: str) -> None:
        await semaphore.acquire(owner, seconds=SECONDS)
        served.append(owner)

    return [asyncio.create_task(wait(owner)) for owner in owners]


async def test_an_owner_gets_no_more_than_its_share() -> None:
    semaphore = FairSemaphore(4, share=2)
    await _take_all(semaphore, "aa")
    with pytest.raises(TimeoutError):
        await semaphore.acquire("a", seconds=0.01)
    await semaphore.acquire("b", seconds=0.01)


async def test_owners_that_wait_are_served_in_turn() -> None:
    semaphore, served = FairSemaphore(1, share=1), list[str]()
    await _take_all(semaphore, "x")
    tasks = _waiters(semaphore, "aaabbc", served)
    await asyncio.sleep(0)
    last = "x"
    for _ in tasks:
        semaphore.release(last)
        await asyncio.sleep(0.001)
        last = served[-1]
    assert "".join(served) == "abcaba"


async def test_a_waiter_that_gives_up_leaves_its_place_to_others() -> None:
    semaphore, served = FairSemaphore(1, share=1), list[str]()
    await _take_all(semaphore, "x")
    impatient, patient = _waiters(semaphore, "ab", served)
    await asyncio.sleep(0)
    impatient.cancel()
    semaphore.release("x")
    await patient
    assert served == ["b"]
    semaphore.release("b")
    await semaphore.acquire("a", seconds=0.01)


async def test_a_place_that_is_given_to_a_canceled_waiter_is_free_again() -> None:
    semaphore, served = FairSemaphore(1, share=1), list[str]()
    await _take_all(semaphore, "x")
    [waiter] = _waiters(semaphore, "a", served)
    await asyncio.sleep(0)
    semaphore.release("x")
    waiter.cancel()  # before it ran again
    with pytest.raises(asyncio.CancelledError):
        await waiter
    await semaphore.acquire("b", seconds=0.01)
