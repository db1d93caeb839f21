"""Token buckets in Redis: one per owner, whichever process asks.

A bucket is kept as the moment at which it would be full again, by Redis's clock; it is judged and written in one
script, so that of many requests at once exactly as many pass as there are tokens. It expires once it is full: no key
stays behind.

Must never keep a request waiting for a Redis that does not answer: every question has a short time limit, and after one
that failed Redis is left alone for a moment, then asked by one request at a time.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import redis.asyncio as redis
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from pixelflow.contracts.errors import LimiterUnavailableError

PATIENCE_SECONDS = 0.5
"""For one question, connecting included."""
PAUSE_SECONDS = 1.0
"""Redis is left alone for so long after it failed to answer."""
MAX_CONNECTIONS = 10

_MICROSECONDS = 1_000_000
_PREFIX = "pixelflow:limit:"
_TAKE = """
local capacity, interval = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full_at = tonumber(redis.call('GET', KEYS[1]) or 0)
-- At most what an empty bucket takes: the capacity may have been lowered, and the clock of a new primary may be behind.
local until_full = math.min(math.max(full_at - now, 0), capacity * interval)
local room = capacity * interval - until_full
if room < interval then
    return {0, 0, interval - room}
end
until_full = until_full + interval
room = room - interval
redis.call('SET', KEYS[1], string.format('%.0f', now + until_full), 'PX', math.ceil(until_full / 1000))
return {1, math.floor(room / interval), interval - room % interval}
"""
"""All numbers are whole microseconds, far below 2^53: nothing is rounded."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Quota:
    """So many tokens, all of which come back within a window."""

    capacity: int
    window_seconds: int

    @property
    def interval(self) -> int:
        """Microseconds in which one token comes back."""
        return max(1, self.window_seconds * _MICROSECONDS // self.capacity)


@dataclass(frozen=True)
class BucketResult:
    """What became of asking for a token."""

    taken: bool
    left: int
    """Tokens."""
    next_seconds: float
    """Until there is one more."""


class TokenBuckets:
    """The buckets; an asynchronous context manager."""

    def __init__(
        self,
        redis_url: str,
        *,
        patience: float = PATIENCE_SECONDS,
        pause: float = PAUSE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open nothing yet.

        Args:
            redis_url: where they are.
            patience: seconds for one question.
            pause: seconds in which Redis is left alone after it failed.
            clock: seconds, from any origin.
        """
        # Once more for a connection that broke while it was idle; redis-py itself would try for seconds.
        pool: redis.BlockingConnectionPool = redis.BlockingConnectionPool.from_url(
            redis_url, max_connections=MAX_CONNECTIONS, timeout=None, retry=Retry(NoBackoff(), 1)
        )
        self._client = redis.Redis.from_pool(pool)
        self._take: Callable[..., Any] = self._client.register_script(_TAKE)
        self._patience = patience
        self._pause = pause
        self._clock = clock
        self._ask_again_at: float | None = None
        """``None``: Redis answers, as far as is known."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def take(self, owner: str, quota: Quota) -> BucketResult:
        """Take a token out of the bucket of ``owner``.

        Raises:
            LimiterUnavailableError: Redis did not say whether there is one.
        """
        async with self._answering():
            taken, left, microseconds = await self._take(keys=[_key(owner)], args=[quota.capacity, quota.interval])
        return BucketResult(bool(taken), left, microseconds / _MICROSECONDS)

    @asynccontextmanager
    async def _answering(self) -> AsyncIterator[None]:
        """The one place where redis-py's errors become PixelFlow's, and where it is minded whether Redis answers."""
        if self._ask_again_at is not None:
            if self._clock() < self._ask_again_at:
                raise LimiterUnavailableError("Requests can't be counted at the moment")
            self._leave_alone()  # for everybody but this request
        try:
            async with asyncio.timeout(self._patience):
                yield
        except (redis.RedisError, OSError, TimeoutError) as error:
            self._note_failure(error)
            raise LimiterUnavailableError("Requests can't be counted at the moment") from error
        self._note_answer()

    def _leave_alone(self) -> None:
        self._ask_again_at = self._clock() + self._pause

    def _note_failure(self, error: Exception) -> None:
        if self._ask_again_at is None:
            _log.warning("rate limiter away", reason=type(error).__name__)
        self._leave_alone()

    def _note_answer(self) -> None:
        if self._ask_again_at is not None:
            _log.info("rate limiter back")
        self._ask_again_at = None


def _key(owner: str) -> str:
    """Of fixed length, and without the names and addresses of people."""
    return _PREFIX + hashlib.blake2b(owner.encode(), digest_size=16).hexdigest()
