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
from tests.support.waiting import DEADLINE_SECONDS, assert_within

from pixelflow.controlplane.limits.store import MAX_CONNECTIONS, TIMEOUT_SECONDS, Quota, TokenBuckets
from pixelflow.devstack.stack import Stack
from pixelflow.errors import LimiterUnavailableError

HOUR = 3600
IN_TIME = TIMEOUT_SECONDS + 0.5


@pytest.fixture
def redis_url(quiet_stack: Stack) -> str:
    return quiet_stack.environment["PIXELFLOW_REDIS_URL"]


@pytest.fixture
async def buckets(redis_url: str) -> AsyncIterator[TokenBuckets]:
    async with TokenBuckets(redis_url, pause=0.1) as opened:
        yield opened


@pytest.fixture
async def patient(redis_url: str) -> AsyncIterator[TokenBuckets]:
    """Buckets which a busy machine does not fail."""
    async with TokenBuckets(redis_url, timeout=DEADLINE_SECONDS) as opened:
        yield opened


@pytest.fixture
def owner() -> str:
    return str(uuid4())


@contextmanager
def hanging(stack: Stack) -> Iterator[None]:
    """Redis accepts connections and does not answer."""
    with paused(process_of(stack, "valkey").pid):
        yield


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def until_it_answers(buckets: TokenBuckets, clock: Clock) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            await buckets.take("anybody", Quota(1, 1))
        except LimiterUnavailableError:
            assert time.monotonic() < deadline
            clock.now += 1
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


async def test_tokens_refill_exactly_however_often_they_are_taken(patient: TokenBuckets, owner: str) -> None:
    """25 per second, taken far more often: if each success rounded time down, hardly any would refill."""
    quota = Quota(250, 10)  # a pause of 10 s would lose tokens
    while (await patient.take(owner, quota)).allowed:
        pass
    began = time.monotonic()
    passed = 0
    while time.monotonic() - began < 1.5:
        passed += (await patient.take(owner, quota)).allowed
    while (await patient.take(owner, quota)).allowed:  # after a pause
        passed += 1
    assert passed == pytest.approx(25 * (time.monotonic() - began), abs=2)


async def test_each_owner_has_a_bucket(patient: TokenBuckets, owner: str) -> None:
    assert (await patient.take(owner, Quota(1, HOUR))).allowed
    assert not (await patient.take(owner, Quota(1, HOUR))).allowed
    assert (await patient.take(owner + "2", Quota(1, HOUR))).allowed


async def test_a_rejection_says_when_the_next_request_is_allowed(patient: TokenBuckets, owner: str) -> None:
    quota = Quota(2, 1)
    while (result := await patient.take(owner, quota)).allowed:
        pass
    assert 0 < result.refill_seconds <= 0.5
    await asyncio.sleep(result.refill_seconds)
    assert (await patient.take(owner, quota)).allowed


@pytest.mark.parametrize("changed", [Quota(2, HOUR), Quota(60, 60), Quota(2, 60)], ids=str)
async def test_an_empty_bucket_under_a_new_quota_has_no_debt(patient: TokenBuckets, owner: str, changed: Quota) -> None:
    for _ in range(60):
        await patient.take(owner, Quota(60, HOUR))
    result = await patient.take(owner, changed)
    assert (result.allowed, result.remaining) == (False, 0)
    assert result.refill_seconds <= changed.window_seconds / changed.capacity


async def test_a_full_bucket_is_deleted_and_its_key_reveals_no_user(
    patient: TokenBuckets, redis_url: str, owner: str
) -> None:
    client = redis.Redis.from_url(redis_url)
    before = set(client.keys())
    await patient.take(f"somebody@{owner}", Quota(2, HOUR))
    [key] = set(client.keys()) - before
    assert owner.encode() not in key
    assert 0 < client.pttl(key) <= HOUR / 2 * 1000
    await patient.take(f"another@{owner}", Quota(20, 2))
    wait_for(lambda: set(client.keys()) - before == {key}, 2)


async def test_a_hanging_redis_costs_one_timeout_and_then_calls_fail_at_once(
    redis_url: str, quiet_stack: Stack, owner: str
) -> None:
    clock = Clock()
    async with TokenBuckets(redis_url, pause=1, clock=clock) as buckets:
        with capture_logs() as logs:
            await until_it_answers(buckets, clock)
            logs.clear()
            with hanging(quiet_stack):
                began = time.monotonic()
                results = await take_at_once(buckets, owner)
                assert {type(result) for result in results} == {LimiterUnavailableError}
                assert_within(IN_TIME, began)
                later = [await take_any(buckets, owner) for _ in range(10)]
                assert [waited_for_redis(each) for each in later] == [False] * 10
            await until_it_answers(buckets, clock)
        assert [log["event"] for log in logs] == ["rate limiter unavailable", "rate limiter available again"]
        deadline = time.monotonic() + DEADLINE_SECONDS
        while LimiterUnavailableError in {type(each) for each in await take_at_once(buckets, owner)}:
            assert time.monotonic() < deadline, "a connection was lost to those that gave up"
            clock.now += 1


async def take_at_once(buckets: TokenBuckets, owner: str) -> list[object]:
    return await asyncio.gather(*(take_any(buckets, owner) for _ in range(3 * MAX_CONNECTIONS)))


async def take_any(buckets: TokenBuckets, owner: str) -> object:
    (result,) = await asyncio.gather(buckets.take(owner, Quota(60, HOUR)), return_exceptions=True)
    return result


def waited_for_redis(result: object) -> bool:
    return isinstance(result, LimiterUnavailableError) and isinstance(result.__cause__, TimeoutError)


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
                assert_within(IN_TIME, began)
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
