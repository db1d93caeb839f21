"""How many requests somebody may make: a bucket per user and class of routes, and one per address for strangers.

A key with a limit of its own has its own buckets, and shares them with the keys that were made with it: making keys
gains nobody a request. Knows no HTTP.
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

from pixelflow.contracts.errors import LimiterUnavailableError
from pixelflow.controlplane.identity import Identity
from pixelflow.controlplane.limits.store import BucketResult, Quota, TokenBuckets

MAX_SHUT_OUT = 10_000
"""Addresses that one process remembers; of an older one a credential is looked at once more."""

_log = structlog.get_logger(__name__)


class Policy(StrEnum):
    """What is counted apart from the rest."""

    CREATE = "create"
    """New jobs."""
    START = "start"
    """Runs: starts and retries."""
    OTHER = "other"
    UNAUTHENTICATED = "unauthenticated"
    """Attempts without a valid credential."""


class RateLimitMetrics(Protocol):
    """Told of what an operator wants to know."""

    def rejected(self, route: str) -> None:
        """A request was refused; ``route`` is its template, such as ``/v1/jobs/{job_id}``."""

    def unavailable(self) -> None:
        """A request was not counted, Redis being away."""


@dataclass(frozen=True)
class RateLimitResult:
    """How somebody stands after a request was counted, or refused."""

    policy: Policy
    quota: Quota
    taking: BucketResult


class RateLimiter:
    """Counts requests."""

    def __init__(
        self,
        buckets: TokenBuckets,
        quota: Quota,
        *,
        pass_uncounted: bool,
        counts: RateLimitMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Count by ``buckets``.

        Args:
            buckets: shared by all processes.
            quota: of everybody who has none of their own, in each class.
            pass_uncounted: whether requests pass while the buckets can't be asked.
            counts: told of refusals.
            clock: seconds, from any origin.
        """
        self._buckets = buckets
        self._quota = quota
        self._pass_uncounted = pass_uncounted
        self.counts = counts
        self._clock = clock
        self._shut_out: OrderedDict[str, float] = OrderedDict()

    async def charge(self, identity: Identity, policy: Policy) -> RateLimitResult | None:
        """Count a request of a user; ``None``: it could not be counted, and passes.

        Raises:
            LimiterUnavailableError: it could not be counted, and may not pass.
        """
        own = identity.limit
        if own is None:
            return await self._take(policy, f"user:{identity.user_id}", self._quota)
        quota = Quota(own.capacity, self._quota.window_seconds)
        return await self._take(policy, f"key:{own.key_id}", quota)

    async def charge_stranger(self, address: str) -> RateLimitResult | None:
        """Count a failed attempt from ``address``; once none is left, the address is shut out until there is one again.

        Raises:
            LimiterUnavailableError: as for :meth:`charge`.
        """
        standing = await self._take(Policy.UNAUTHENTICATED, f"address:{address}", self._quota)
        if standing is not None and standing.taking.left == 0:
            self._shut(address, standing.taking.next_seconds)
        return standing

    def shut_out(self, address: str) -> RateLimitResult | None:
        """How ``address`` stands, if nobody from there is listened to for now. Asks nobody."""
        seconds = self._shut_out.get(address, -math.inf) - self._clock()
        if seconds <= 0:
            return None
        return RateLimitResult(
            Policy.UNAUTHENTICATED, self._quota, BucketResult(taken=False, left=0, next_seconds=seconds)
        )

    def _shut(self, address: str, seconds: float) -> None:
        now = self._clock()
        before = self._shut_out.pop(address, -math.inf)
        self._shut_out[address] = now + seconds
        if len(self._shut_out) > MAX_SHUT_OUT:
            self._shut_out.popitem(last=False)
        if before < now - self._quota.window_seconds:  # once, not at every token that comes back
            _log.warning("address shut out: too many attempts without a valid credential", address=address)

    async def _take(self, policy: Policy, owner: str, quota: Quota) -> RateLimitResult | None:
        try:
            return RateLimitResult(policy, quota, await self._buckets.take(f"{policy}:{owner}", quota))
        except LimiterUnavailableError:
            self.counts.unavailable()
            if self._pass_uncounted:
                return None
            raise
