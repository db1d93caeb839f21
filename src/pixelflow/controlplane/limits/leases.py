"""Tokens that this process has taken ahead for owners who send many requests: most of these need no call to Redis.

A token is taken from the owner's bucket before a request uses it, so all processes together never grant more than there
are. A process holds at most :data:`MAX_TOKENS` of a bucket, at most one in :data:`SHARE` of what was left, and for at
most :data:`SECONDS`; it gives back what it did not use with its next call. Of a bucket with fewer than twice that many
tokens left, each request takes its own.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from pixelflow.controlplane.limits.store import BucketResult, Quota, TokenBuckets
from pixelflow.controlplane.lru import LruDict

MAX_TOKENS = 16
SECONDS = 1.0
"""So that a burst can exceed a bucket by no more than what refills in this time."""
SHARE = 32
"""What all processes hold is a small part of what is left."""

_MICROSECONDS = 1_000_000


@dataclass
class _Lease:
    """What the process knows of a bucket, and holds of its tokens."""

    tokens: int = 0
    """Not used yet."""
    until: float = -math.inf
    size: int = 1
    """Tokens that the latest call asked for."""
    available: int = 0
    """Microseconds of refill that were in the bucket after that call."""
    taken_at: float = 0
    waiting: int = 0
    """Requests that wait for a token."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class TokenLeases:
    """The leases of one process."""

    def __init__(self, buckets: TokenBuckets, *, max_owners: int, clock: Callable[[], float]) -> None:
        """Create no lease yet; ``clock`` is a monotonic clock in seconds."""
        self._buckets = buckets
        self._clock = clock
        self._leases: LruDict[tuple[str, Quota], _Lease] = LruDict(max_owners)

    async def take(self, owner: str, quota: Quota) -> BucketResult:
        """As ``TokenBuckets.take``. Of concurrent requests of one owner, one asks Redis for all."""
        lease = self._lease_of(owner, quota)
        if not self._has_token(lease):
            lease.waiting += 1
            try:
                async with lease.lock:
                    if not self._has_token(lease):
                        await self._renew(lease, owner, quota)
            finally:
                lease.waiting -= 1
        allowed = lease.tokens > 0
        lease.tokens -= allowed
        return self._result(lease, quota, allowed=allowed)

    def _lease_of(self, owner: str, quota: Quota) -> _Lease:
        lease = self._leases.get((owner, quota))
        if lease is None:
            lease = _Lease()
            self._leases.put((owner, quota), lease)
        return lease

    def _has_token(self, lease: _Lease) -> bool:
        return lease.tokens > 0 and self._clock() < lease.until

    async def _renew(self, lease: _Lease, owner: str, quota: Quota) -> None:
        """Twice as many as before if they were used up in time; a single one for an owner who sends few requests."""
        began, unused = self._clock(), lease.tokens
        lease.tokens = 0
        lease.size = 1 if unused or began >= lease.until else min(2 * lease.size, MAX_TOKENS)
        result = await self._buckets.take(
            owner, quota, needed=lease.waiting, wanted=lease.size, share=SHARE, returned=unused
        )
        lease.tokens, lease.until, lease.taken_at = result.taken, began + SECONDS, self._clock()
        refills_in = round(result.refill_seconds * _MICROSECONDS)
        lease.available = result.remaining * quota.interval + quota.interval - refills_in

    def _result(self, lease: _Lease, quota: Quota, *, allowed: bool) -> BucketResult:
        available = lease.available + int((self._clock() - lease.taken_at) * _MICROSECONDS)
        if not allowed:
            return BucketResult(False, 0, max(0, quota.interval - available) / _MICROSECONDS)
        in_bucket, since = divmod(available, quota.interval)
        remaining = min(in_bucket, quota.capacity - 1 - lease.tokens) + lease.tokens
        return BucketResult(True, remaining, (quota.interval - since) / _MICROSECONDS)
