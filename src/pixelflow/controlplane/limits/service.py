"""Rate limits: one token bucket per user and route class, and one per client network for failed authentication.

A key with a rate limit of its own has its own buckets and shares them with the keys created with it, so creating keys
never raises a limit. Must never depend on HTTP.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import structlog

from pixelflow.controlplane.identity import Identity
from pixelflow.controlplane.limits.store import BucketResult, Quota, TokenBuckets
from pixelflow.errors import LimiterUnavailableError, RateLimitedError

MAX_BLOCKED = 10_000
"""Blocked networks that one process remembers. When the oldest is evicted, its next credential is checked again."""

_log = structlog.get_logger(__name__)


class Policy(StrEnum):
    """A class of requests with buckets of its own."""

    CREATE = "create"
    """Creating jobs."""
    START = "start"
    """Starting runs: start and retry."""
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

    @property
    def refill_seconds(self) -> int:
        """Whole seconds until the next token, at least 1."""
        return max(1, math.ceil(self.bucket.refill_seconds))

    def raise_if_rejected(self) -> None:
        """Raise the error of a request for which no token was left.

        Raises:
            RateLimitedError: no token was left.
        """
        if self.bucket.allowed:
            return
        raise RateLimitedError(
            f"The limit for `{self.policy}` requests is {self.quota.capacity} in {self.quota.window_seconds} s; "
            f"try again in {self.refill_seconds} s",
            retry_after=self.refill_seconds,
        )


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
        self._blocked_until: OrderedDict[str, float] = OrderedDict()

    async def count_request(self, identity: Identity, policy: Policy) -> RateLimitResult | None:
        """Count a request of a user. ``None``: Redis is unavailable and the request is allowed.

        Raises:
            LimiterUnavailableError: Redis is unavailable and uncounted requests are not allowed.
        """
        own_limit = identity.rate_limit
        if own_limit is None:
            return await self._take(policy, f"user:{identity.user_id}", self._quota)
        quota = Quota(own_limit.capacity, self._quota.window_seconds)
        return await self._take(policy, f"key:{own_limit.key_id}", quota)

    async def count_failed_auth(self, network: str) -> RateLimitResult | None:
        """Count a failed authentication from ``network``, and block the network while its bucket is empty.

        Raises:
            LimiterUnavailableError: as for :meth:`count_request`.
        """
        result = await self._take(Policy.UNAUTHENTICATED, f"address:{network}", self._quota)
        if result is not None and result.bucket.remaining == 0:
            self.block(network, result.bucket.refill_seconds)
        return result

    def find_block(self, network: str) -> RateLimitResult | None:
        """Return the result for ``network`` if it is blocked, else ``None``. Does no I/O."""
        seconds = self._blocked_until.get(network, -math.inf) - self._clock()
        if seconds <= 0:
            return None
        return RateLimitResult(
            Policy.UNAUTHENTICATED, self._quota, BucketResult(allowed=False, remaining=0, refill_seconds=seconds)
        )

    def block(self, network: str, seconds: float) -> None:
        """Reject all requests from ``network`` for ``seconds``, in this process."""
        now = self._clock()
        previous = self._blocked_until.pop(network, -math.inf)
        self._blocked_until[network] = now + seconds
        if len(self._blocked_until) > MAX_BLOCKED:
            self._blocked_until.popitem(last=False)
        if previous < now - self._quota.window_seconds:  # logged once, not for every token that refills
            _log.warning("client blocked: too many failed authentication attempts", address=network)

    async def _take(self, policy: Policy, owner: str, quota: Quota) -> RateLimitResult | None:
        try:
            return RateLimitResult(policy, quota, await self._buckets.take(f"{policy}:{owner}", quota))
        except LimiterUnavailableError:
            self.metrics.rate_limit_unavailable()
            if self._allow_uncounted:
                return None
            raise
