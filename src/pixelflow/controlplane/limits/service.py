"""Rate limits: one token bucket per user and route class, and one per client network for failed authentication.

A key with a rate limit of its own has its own buckets and shares them with the keys created with it, so creating keys
never raises a limit. Must never depend on HTTP.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

import structlog

from pixelflow.controlplane.identity import Identity
from pixelflow.controlplane.limits.store import MAX_CONNECTIONS, BucketResult, Quota, TokenBuckets
from pixelflow.controlplane.lru import LruDict
from pixelflow.errors import LimiterUnavailableError, RateLimitedError

MAX_REMEMBERED = 10_000
"""Empty buckets that one process remembers. A request on a forgotten one is counted in Redis again."""
MAX_REMEMBERED_SECONDS = 10.0
"""An empty bucket is asked again after this time at the latest, so that a Redis that lost its buckets, or a quota that
was changed, takes effect. One question in ten seconds costs nothing."""
READ_FACTOR = 5
"""How many times as many requests that only read are allowed: a job is created once and may be polled often."""
MAX_FAILURES = 60
"""Failed authentications of a network in a window, if the quota is larger: users send hundreds of requests a minute,
but nobody has as many wrong keys."""
MAX_QUICK_PER_SECOND = 20
HOLD_SECONDS = 1.0
"""Remembered rejections of one bucket beyond that rate are held for about this time. No client can use a faster one,
since Retry-After is at least a second. Clients that repeat at once on hundreds of connections would otherwise use up
the process, even if a rejection takes 0.15 ms."""
MAX_CHECKS_PER_SECOND = 50
"""Unrecognized credentials from a blocked network that one process checks. A new key works there as long as fewer
invalid ones arrive; 50 lookups take 1 to 2 % of a core of Postgres."""

_log = structlog.get_logger(__name__)


class Policy(StrEnum):
    """A class of requests with buckets of its own."""

    CREATE = "create"
    """Creating jobs."""
    START = "start"
    """Starting runs: start and retry."""
    READ = "read"
    """Requests that change nothing: polls of jobs, above all."""
    OTHER = "other"
    UNAUTHENTICATED = "unauthenticated"
    """Requests without a valid credential."""


class RateLimitMetrics(Protocol):
    """Counts what the rate limiter does."""

    def rate_limit_rejected(self, route: str) -> None:
        """Count a rejected request. ``route`` is its template, such as ``/v1/jobs/{job_id}``."""

    def rate_limit_unavailable(self) -> None:
        """Count a request that Redis could not count."""


@dataclass(frozen=True)
class RateLimitResult:
    """The state of a caller's bucket after a request was allowed or rejected."""

    policy: Policy
    quota: Quota
    bucket: BucketResult
    hold_seconds: float = 0
    """How long the response should be held."""

    @property
    def refill_seconds(self) -> int:
        """Whole seconds until the next token, at least 1."""
        return max(1, math.ceil(self.bucket.refill_seconds))

    @property
    def error(self) -> RateLimitedError:
        """The error of a request for which no token was left."""
        return RateLimitedError(
            f"The limit for `{self.policy}` requests is {self.quota.capacity} in {self.quota.window_seconds} s; "
            f"try again in {self.refill_seconds} s",
            retry_after=self.refill_seconds,
        )


@dataclass(frozen=True)
class _Bucket:
    policy: Policy
    owner: str
    quota: Quota


@dataclass(frozen=True)
class _Empty:
    """A bucket that was found empty. Times are the process's."""

    refills_at: float
    """Not before the next token refills."""
    ask_at: float
    """Not after it: from then on, Redis must be asked."""


class _Pace:
    """Allows each key a number of events per second, and at most a second's worth at once."""

    def __init__(self, per_second: int, clock: Callable[[], float]) -> None:
        self._interval = 1 / per_second
        self._clock = clock
        self._next: LruDict[_Bucket, float] = LruDict(MAX_REMEMBERED)

    def allows(self, key: _Bucket) -> bool:
        """Whether the event is within the rate. Counts it if it is."""
        now = self._clock()
        at = max(self._next.get(key) or 0, now - 1 + self._interval)
        if at > now:
            return False
        self._next.put(key, at + self._interval)
        return True


def hold_seconds() -> float:
    """How long to hold a rejection: spread, so that the clients don't come back all at once."""
    return HOLD_SECONDS * random.uniform(0.5, 1.5)  # noqa: S311


class RateLimiter:
    """Counts requests against the quotas of users and client networks."""

    def __init__(
        self,
        buckets: TokenBuckets,
        quota: Quota,
        *,
        allow_uncounted: bool,
        metrics: RateLimitMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create a limiter.

        Args:
            buckets: the buckets that all processes share.
            quota: the quota per route class of everyone without a limit of their own.
            allow_uncounted: whether requests pass while Redis is unavailable.
            metrics: counts rejections.
            clock: a monotonic clock in seconds.
        """
        self._buckets = buckets
        self._quota = quota
        self._allow_uncounted = allow_uncounted
        self.metrics = metrics
        self._clock = clock
        self._empty: LruDict[_Bucket, _Empty] = LruDict(MAX_REMEMBERED)
        self._blocked_at: LruDict[str, float] = LruDict(MAX_REMEMBERED)
        self._checks = _Pace(MAX_CHECKS_PER_SECOND, clock)
        self._quick = _Pace(MAX_QUICK_PER_SECOND, clock)
        self._turns = asyncio.Semaphore(MAX_CONNECTIONS)

    async def count_request(self, identity: Identity, policy: Policy) -> RateLimitResult | None:
        """Count a request of a user. ``None``: Redis is unavailable and the request is allowed.

        Raises:
            LimiterUnavailableError: Redis is unavailable and uncounted requests are not allowed.
        """
        return await self._take(self._bucket_of(identity, policy))

    def find_rejection(self, identity: Identity, policy: Policy) -> RateLimitResult | None:
        """Return the result of a request that is certain to be rejected, else ``None``. Does no I/O.

        A bucket that was found empty has no token before the time that Redis gave, whatever other processes do.
        """
        return self._hold_often(self._bucket_of(identity, policy))

    def _bucket_of(self, identity: Identity, policy: Policy) -> _Bucket:
        own_limit = identity.rate_limit
        capacity = self._quota.capacity if own_limit is None else own_limit.capacity
        owner = f"user:{identity.user_id}" if own_limit is None else f"key:{own_limit.key_id}"
        factor = READ_FACTOR if policy is Policy.READ else 1
        return _Bucket(policy, owner, Quota(capacity * factor, self._quota.window_seconds))

    # ── Failed authentication ────────────────────────────────────────────────────────────────────

    async def count_failed_auth(self, network: str) -> RateLimitResult | None:
        """Count a failed authentication from ``network``, and block the network while its bucket is empty.

        Raises:
            LimiterUnavailableError: as for :meth:`count_request`.
        """
        bucket = self._bucket_of_failures(network)
        result = await self._take(bucket)
        if result is not None and result.bucket.remaining == 0:
            if result.bucket.allowed:  # this was the last token
                self._remember(bucket, self._clock(), result.bucket.refill_seconds)
            self._start_block(network)
        return result

    def _start_block(self, network: str) -> None:
        now, previous = self._clock(), self._blocked_at.get(network)
        self._blocked_at.put(network, now)
        if previous is None or previous < now - self._quota.window_seconds:  # once, not for every token that refills
            _log.warning("client blocked: too many failed authentication attempts", address=network)

    def find_block(self, network: str) -> RateLimitResult | None:
        """Return the result for ``network`` if it is blocked, else ``None``. Does no I/O."""
        return self._hold_often(self._bucket_of_failures(network))

    def may_check(self, network: str) -> bool:
        """Whether an unrecognized credential from a blocked network may be checked now. Counts the check."""
        return self._checks.allows(self._bucket_of_failures(network))

    def _bucket_of_failures(self, network: str) -> _Bucket:
        quota = Quota(min(self._quota.capacity, MAX_FAILURES), self._quota.window_seconds)
        return _Bucket(Policy.UNAUTHENTICATED, f"address:{network}", quota)

    # ── Buckets ──────────────────────────────────────────────────────────────────────────────────

    async def _take(self, bucket: _Bucket) -> RateLimitResult | None:
        async with self._turns:  # so that of many requests at once, those on a bucket found empty meanwhile don't ask
            empty = self._find_empty(bucket)
            if empty is not None:
                return empty
            began = self._clock()
            try:
                result = await self._buckets.take(f"{bucket.policy}:{bucket.owner}", bucket.quota)
            except LimiterUnavailableError:
                self.metrics.rate_limit_unavailable()
                if self._allow_uncounted:
                    return None
                raise
            if not result.allowed:
                self._remember(bucket, began, result.refill_seconds)
            return RateLimitResult(bucket.policy, bucket.quota, result)

    def _remember(self, bucket: _Bucket, began: float, refill_seconds: float) -> None:
        """Remember an empty bucket. Redis measured ``refill_seconds`` between ``began`` and now."""
        ask_at = began + min(refill_seconds, MAX_REMEMBERED_SECONDS)
        self._empty.put(bucket, _Empty(refills_at=self._clock() + refill_seconds, ask_at=ask_at))

    def _find_empty(self, bucket: _Bucket) -> RateLimitResult | None:
        empty, now = self._empty.get(bucket), self._clock()
        if empty is None or now >= empty.ask_at:
            return None
        refill = BucketResult(allowed=False, remaining=0, refill_seconds=empty.refills_at - now)
        return RateLimitResult(bucket.policy, bucket.quota, refill)

    def _hold_often(self, bucket: _Bucket) -> RateLimitResult | None:
        """Return the rejection of an empty bucket, to be held if there are many."""
        result = self._find_empty(bucket)
        if result is None or self._quick.allows(bucket):
            return result
        seconds = hold_seconds()
        left = max(0.0, result.bucket.refill_seconds - seconds)
        return replace(result, hold_seconds=seconds, bucket=replace(result.bucket, refill_seconds=left))
