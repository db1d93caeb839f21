"""Whether what the API stands on answers: asked at most once a second, however often somebody wants to know.

It must never need a key, nor let a stranger take up the connections that requests need.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

from pixelflow.contracts.problems import DependencyError

_PATIENCE_SECONDS = 2.0
_KEPT_SECONDS = 1.0

Verdict = Literal["ok", "unavailable"]
Check = Callable[[], Awaitable[None]]
"""Raises DependencyError where a server can't be used."""


class Dependencies:
    """The latest verdict on each server."""

    def __init__(self, checks: Mapping[str, Check], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._checks = checks
        self._clock = clock
        self._asking = asyncio.Lock()
        self._kept: dict[str, Verdict] = {}
        self._kept_until = float("-inf")

    async def verdicts(self) -> dict[str, Verdict]:
        """One per server, at most a second old."""
        async with self._asking:
            if self._clock() >= self._kept_until:
                judged = await asyncio.gather(*map(_judge, self._checks.values()))
                self._kept = dict(zip(self._checks, judged, strict=True))
                self._kept_until = self._clock() + _KEPT_SECONDS
            return self._kept


async def _judge(check: Check) -> Verdict:
    try:
        await asyncio.wait_for(check(), _PATIENCE_SECONDS)
    except (DependencyError, TimeoutError):
        return "unavailable"
    return "ok"
