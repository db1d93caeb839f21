"""Tokens that processes take ahead: fewer calls to Redis, and never more requests than there are tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from pixelflow.controlplane.limits.leases import MAX_TOKENS, SECONDS, SHARE, TokenLeases
from pixelflow.controlplane.limits.store import BucketResult, Quota, TokenBuckets
from pixelflow.devstack.stack import Stack

HOUR = 3600


class CountedBuckets(TokenBuckets):
    """Counts the calls, and the tokens that were taken and not put back."""

    calls = 0
    taken = 0

    async def take(self, owner: str, quota: Quota, **more: int) -> BucketResult:
        self.calls += 1
        result = await super().take(owner, quota, **more)
        self.taken += result.taken - more.get("returned", 0)
        return result


class Processes:
    """Several processes, and their common clock."""

    def __init__(self, buckets: CountedBuckets) -> None:
        self.buckets = buckets
        self.now = 0.0
        self.owner = uuid4().hex

    def new(self) -> TokenLeases:
        return TokenLeases(self.buckets, max_owners=9, clock=lambda: self.now)


@pytest.fixture
async def processes(quiet_stack: Stack) -> AsyncIterator[Processes]:
    async with CountedBuckets(quiet_stack.environment["PIXELFLOW_REDIS_URL"], timeout=10) as buckets:
        yield Processes(buckets)


async def test_the_more_requests_an_owner_sends_the_fewer_ask_redis(processes: Processes) -> None:
    one, quota = processes.new(), Quota(6000, HOUR)
    remaining = [(await one.take(processes.owner, quota)).remaining for _ in range(200)]
    assert remaining == list(range(5999, 5799, -1))
    assert processes.buckets.calls == 4 + -(-(200 - 15) // MAX_TOKENS)


async def test_an_owner_who_sends_few_requests_takes_single_tokens(processes: Processes) -> None:
    one, quota = processes.new(), Quota(6000, HOUR)
    for _ in range(9):
        assert (await one.take(processes.owner, quota)).allowed
        processes.now += SECONDS
    assert processes.buckets.taken == processes.buckets.calls == 9


async def test_what_is_not_used_in_time_is_given_back(processes: Processes) -> None:
    one, quota = processes.new(), Quota(6000, HOUR)
    for _ in range(4):
        await one.take(processes.owner, quota)
    assert processes.buckets.taken == 7  # 1, 2, and 4, of which one is used
    processes.now += SECONDS
    assert (await one.take(processes.owner, quota)).remaining == 6000 - 5
    assert processes.buckets.taken == 5


@pytest.mark.parametrize("capacity", [20, 640, 3000])
async def test_processes_grant_exactly_the_tokens_that_there_are(processes: Processes, capacity: int) -> None:
    several, quota = [processes.new() for _ in range(3)], Quota(capacity, 100 * HOUR)
    granted = 0
    while granted <= capacity:
        results = await asyncio.gather(*(each.take(processes.owner, quota) for each in several for _ in range(7)))
        granted += sum(result.allowed for result in results)
        if not all(result.allowed for result in results):
            break
    left = capacity - granted
    assert 0 <= left <= len(several) * max(1, min(MAX_TOKENS, capacity // SHARE))
    for each in several:  # each grants what it holds
        while (await each.take(processes.owner, quota)).allowed:
            granted += 1
    assert granted == capacity


async def test_of_concurrent_requests_one_asks_for_all(processes: Processes) -> None:
    one, quota = processes.new(), Quota(100, HOUR)
    results = await asyncio.gather(*(one.take(processes.owner, quota) for _ in range(50)))
    assert sorted(result.remaining for result in results) == list(range(50, 100))
    assert processes.buckets.calls == 2


async def test_tokens_that_refill_meanwhile_are_remaining_ones(processes: Processes) -> None:
    one, quota = processes.new(), Quota(6000, 60)
    for _ in range(4):
        result = await one.take(processes.owner, quota)
    processes.now += 0.025
    later = await one.take(processes.owner, quota)
    assert later.remaining in {result.remaining + 1, result.remaining + 2}
    assert 0 < later.refill_seconds <= 0.01
