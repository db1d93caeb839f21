"""Token buckets in a real Redis: exact under concurrency, exact over time, and fast when Redis fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from uuid import uuid4

import pytest
import redis
from structlog.testing import capture_logs
from tests.acceptance.running import paused, process_of, wait_for

from pixelflow.controlplane.limits.store import MAX_CONNECTIONS, TIMEOUT_SECONDS, Quota, TokenBuckets
from pixelflow.devstack.stack import Stack
from pixelflow.errors import LimiterUnavailableError

HOUR = 3600
IN_TIME = TIMEOUT_SECONDS + 0.5
"""Seconds, with tolerance for a busy machine."""


@pytest.fixture
def redis_url(quiet_stack: Stack) -> str:
    return quiet_stack.environment["PIXELFLOW_REDIS_URL"]


@pytest.fixture
async def buckets(redis_url: str) -> AsyncIterator[TokenBuckets]:
    async with TokenBuckets(redis_url, pause=0.1) as opened:
        yield opened


@pytest.fixture
def owner() -> str:
    return str(uuid4())


@contextmanager
def hanging(stack: Stack) -> Iterator[None]:
    """Redis accepts connections and does not answer."""
    with paused(process_of(stack, "valkey").pid):
        yield


async def until_it_answers(buckets: TokenBuckets) -> None:
    deadline = time.monotonic() + 5
    while True:
        try:
            await buckets.take("anybody", Quota(1, 1))
        except LimiterUnavailableError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        else:
            return


@pytest.mark.parametrize(("capacity", "window"), [(60, HOUR), (7, HOUR), (1, HOUR), (61, 86_400)])
async def test_concurrent_requests_get_exactly_the_tokens_that_there_are(
    redis_url: str, owner: str, capacity: int, window: int
) -> None:
    """For any interval, and with several processes: each client has its own connections."""
    quota = Quota(capacity, window)
    async with AsyncExitStack() as opened:
        several = [await opened.enter_async_context(TokenBuckets(redis_url, timeout=10)) for _ in range(4)]
        results = await asyncio.gather(*(each.take(owner, quota) for each in several for _ in range(50)))
    assert sorted(result.remaining for result in results if result.allowed) == list(range(capacity))
    assert sum(not result.allowed for result in results) == 200 - capacity
    assert all(0 < result.refill_seconds <= window / capacity for result in results)


async def test_tokens_refill_exactly_however_often_they_are_taken(buckets: TokenBuckets, owner: str) -> None:
    """25 per second, taken far more often: if each success rounded time down, hardly any would refill."""
    quota = Quota(50, 2)
    began = time.monotonic()
    passed = 0
    while (elapsed := time.monotonic() - began) < 1.5:
        passed += (await buckets.take(owner, quota)).allowed
    assert passed == pytest.approx(50 + 25 * elapsed, abs=2)


async def test_each_owner_has_a_bucket(buckets: TokenBuckets, owner: str) -> None:
    assert (await buckets.take(owner, Quota(1, HOUR))).allowed
    assert not (await buckets.take(owner, Quota(1, HOUR))).allowed
    assert (await buckets.take(owner + "2", Quota(1, HOUR))).allowed


async def test_a_rejection_says_when_the_next_request_is_allowed(buckets: TokenBuckets, owner: str) -> None:
    quota = Quota(2, 1)
    while (result := await buckets.take(owner, quota)).allowed:
        pass
    assert 0 < result.refill_seconds <= 0.5
    await asyncio.sleep(result.refill_seconds)
    assert (await buckets.take(owner, quota)).allowed


@pytest.mark.parametrize("changed", [Quota(2, HOUR), Quota(60, 60), Quota(2, 60)], ids=str)
async def test_an_empty_bucket_under_a_new_quota_has_no_debt(buckets: TokenBuckets, owner: str, changed: Quota) -> None:
    for _ in range(60):
        await buckets.take(owner, Quota(60, HOUR))
    result = await buckets.take(owner, changed)
    assert (result.allowed, result.remaining) == (False, 0)
    assert result.refill_seconds <= changed.window_seconds / changed.capacity


async def test_a_full_bucket_is_deleted_and_its_key_reveals_no_user(
    buckets: TokenBuckets, redis_url: str, owner: str
) -> None:
    client = redis.Redis.from_url(redis_url)
    before = set(client.keys())
    await buckets.take(f"somebody@{owner}", Quota(4, 2))
    [key] = set(client.keys()) - before
    assert owner.encode() not in key
    assert 0 < client.pttl(key) <= 500
    wait_for(lambda: not client.exists(key), 2)


async def test_a_hanging_redis_costs_one_timeout_and_then_calls_fail_at_once(
    buckets: TokenBuckets, quiet_stack: Stack, owner: str
) -> None:
    await buckets.take(owner, Quota(60, HOUR))
    with capture_logs() as logs:
        with hanging(quiet_stack):
            began = time.monotonic()
            results = await asyncio.gather(
                *(buckets.take(owner, Quota(60, HOUR)) for _ in range(3 * MAX_CONNECTIONS)), return_exceptions=True
            )
            assert {type(result) for result in results} == {LimiterUnavailableError}
            assert time.monotonic() - began < IN_TIME
            began = time.monotonic()
            with pytest.raises(LimiterUnavailableError):
                await buckets.take(owner, Quota(60, HOUR))
            assert time.monotonic() - began < TIMEOUT_SECONDS / 2
        await until_it_answers(buckets)
    assert [log["event"] for log in logs] == ["rate limiter unavailable", "rate limiter available again"]
    later = await asyncio.gather(*(buckets.take(owner, Quota(60, HOUR)) for _ in range(3 * MAX_CONNECTIONS)))
    assert all(result.allowed for result in later), "no connection was lost to those that gave up"


async def test_while_redis_is_unavailable_one_request_at_a_time_probes_it(quiet_stack: Stack, redis_url: str) -> None:
    now = [0.0]
    async with TokenBuckets(redis_url, pause=1, clock=lambda: now[0]) as buckets:
        with hanging(quiet_stack):
            for _ in range(2):
                began = time.monotonic()
                answers = await asyncio.gather(
                    *(buckets.take("anybody", Quota(9, 9)) for _ in range(1 + 20 * int(now[0]))), return_exceptions=True
                )
                assert {type(answer) for answer in answers} == {LimiterUnavailableError}
                assert time.monotonic() - began < IN_TIME
                now[0] += 1
            asked = [isinstance(answer.__cause__, TimeoutError) for answer in answers]  # type: ignore[union-attr]
        assert sum(asked) == 1


async def test_an_unreachable_redis_is_logged_once() -> None:
    with capture_logs() as logs:
        async with TokenBuckets("redis://127.0.0.1:1", pause=0) as buckets:
            for _ in range(3):
                with pytest.raises(LimiterUnavailableError):
                    await buckets.take("anybody", Quota(1, 1))
    assert [log["event"] for log in logs] == ["rate limiter unavailable"]
