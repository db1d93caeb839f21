"""Token buckets in Redis, shared by all processes: one per owner.

A bucket is stored as the time at which it will be full, by Redis's clock. One script reads and updates it, so that
concurrent requests get exactly as many tokens as there are. The key expires when the bucket is full.

Must never make a request wait for a Redis that does not answer: every call has a short timeout. After a failure all
calls fail at once for a short pause, then one request at a time probes Redis.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import redis.asyncio as redis
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from pixelflow.errors import LimiterUnavailableError

TIMEOUT_SECONDS = 0.5
"""Timeout of one call, including the connect."""
PAUSE_SECONDS = 1.0
"""Time without calls to Redis after a failure."""
MAX_CONNECTIONS = 10

_MICROSECONDS = 1_000_000
_PREFIX = "pixelflow:limit:"
_TAKE = """
local capacity, interval = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full_at = tonumber(redis.call('GET', KEYS[1]) or 0)
-- Never more than an empty bucket needs: the capacity may have been lowered, or a new primary's clock may be behind.
local until_full = math.min(math.max(full_at - now, 0), capacity * interval)
local available = capacity * interval - until_full
if available < interval then
    return {0, 0, interval - available}
end
until_full = until_full + interval
available = available - interval
redis.call('SET', KEYS[1], string.format('%.0f', now + until_full), 'PX', math.ceil(until_full / 1000))
return {1, math.floor(available / interval), interval - available % interval}
"""
"""All numbers are whole microseconds far below 2^53, so nothing is rounded."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Quota:
    """A bucket's size in tokens, and the window in which an empty bucket refills."""

    capacity: int
    window_seconds: int

    @property
    def interval(self) -> int:
        """Microseconds in which one token refills."""
        return max(1, self.window_seconds * _MICROSECONDS // self.capacity)


@dataclass(frozen=True)
class BucketResult:
    """The result of taking a token."""

    allowed: bool
    remaining: int
    """Tokens left."""
    refill_seconds: float
    """Seconds until the next token refills."""


class TokenBuckets:
    """The buckets in one Redis; an asynchronous context manager."""

    def __init__(
        self,
        redis_url: str,
        *,
        timeout: float = TIMEOUT_SECONDS,
        pause: float = PAUSE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create the client without connecting.

        Args:
            redis_url: the Redis that stores the buckets.
            timeout: seconds for one call, including the connect.
            pause: seconds without calls to Redis after a failure.
            clock: a monotonic clock in seconds.
        """
        # One retry, for connections that broke while idle; redis-py's default retries for seconds.
        pool: redis.BlockingConnectionPool = redis.BlockingConnectionPool.from_url(
            redis_url,
            max_connections=MAX_CONNECTIONS,
            timeout=None,
            retry=Retry(NoBackoff(), 1),
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
        )
        self._client = redis.Redis.from_pool(pool)
        self._take: Callable[..., Any] = self._client.register_script(_TAKE)
        self._timeout = timeout
        self._pause = pause
        self._clock = clock
        self._calls: set[asyncio.Task[Any]] = set()
        self._retry_at: float | None = None
        """``None``: the last call succeeded, or there was none."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._calls:  # abandoned ones, whose connections would stay open
            await asyncio.wait(self._calls, timeout=2 * self._timeout)
        await self._client.aclose()

    async def take(self, owner: str, quota: Quota) -> BucketResult:
        """Take a token from the bucket of ``owner``.

        Raises:
            LimiterUnavailableError: Redis did not answer.
        """
        with self._circuit_breaker():
            call = self._take(keys=[_key(owner)], args=[quota.capacity, quota.interval])
            allowed, remaining, microseconds = await self._result_of(call)
        return BucketResult(bool(allowed), remaining, microseconds / _MICROSECONDS)

    @contextmanager
    def _circuit_breaker(self) -> Iterator[None]:
        """Map redis-py's errors to PixelFlow's, and fail at once during the pause after a failure."""
        if self._retry_at is not None:
            if self._clock() < self._retry_at:
                raise LimiterUnavailableError("Redis is unavailable, so requests can't be counted; retry shortly")
            self._start_pause()  # for all requests but this one, which probes Redis
        try:
            yield
        except (redis.RedisError, OSError, TimeoutError) as error:
            self._record_failure(error)
            raise LimiterUnavailableError(
                "Redis is unavailable, so requests can't be counted; retry shortly"
            ) from error
        self._record_success()

    def _start_pause(self) -> None:
        self._retry_at = self._clock() + self._pause

    def _record_failure(self, error: Exception) -> None:
        if self._retry_at is None:
            _log.warning("rate limiter unavailable", reason=type(error).__name__)
        self._start_pause()

    def _record_success(self) -> None:
        if self._retry_at is not None:
            _log.info("rate limiter available again")
        self._retry_at = None

    async def _result_of(self, call: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401  # what the script returns
        """Await a call, but return on time even if the call ignores its cancellation.

        ``asyncio.timeout`` does not: redis-py awaits ``asyncio.wait_for``, which in Python 3.11 can swallow a
        cancellation that arrives just as its future completes (python/cpython#86296). The abandoned call ends by its
        socket timeouts.

        Raises:
            TimeoutError: the call took longer.
        """
        task = asyncio.ensure_future(call)
        self._calls.add(task)
        task.add_done_callback(self._forget)
        try:
            done, _ = await asyncio.wait({task}, timeout=self._timeout)
        finally:
            task.cancel()
        if not done:
            raise TimeoutError
        return task.result()

    def _forget(self, ended: asyncio.Task[Any]) -> None:
        self._calls.discard(ended)
        if not ended.cancelled():
            ended.exception()  # retrieved, so that it isn't logged


def _key(owner: str) -> str:
    """Return a Redis key of fixed length that reveals no user ID or address."""
    return _PREFIX + hashlib.blake2b(owner.encode(), digest_size=16).hexdigest()
