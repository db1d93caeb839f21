"""The turns of users on an API process: none of them keeps the event loop from the others.

All requests share one event loop, which runs what is ready in the order of arrival. A request has some ten steps, and
at each of them it would wait behind a step of every other request. So a user with hundreds of requests at once has only
some of them in progress, and the others wait for these: many while nobody else is active, and one beside many users.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Self

from pixelflow.adapters.fair_semaphore import FairSemaphore
from pixelflow.errors import OverloadedError

ACTIVE_SECONDS = 2.0
"""For this time after a request, its user is active and keeps the others to their share."""
_UNBOUNDED = 2**31


class Turns:
    """Divides the turns of one process among its active users. Of its event loop only."""

    def __init__(self, count: int, *, wait_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Create the turns.

        Args:
            count: turns that are divided. Each user has at least one, so there are more in all beside many users.
            wait_seconds: about how long a request waits for its turn.
            clock: a monotonic clock in seconds.
        """
        self._count = count
        self._wait_seconds = wait_seconds
        self._clock = clock
        self._places = FairSemaphore(_UNBOUNDED, share=count)
        self._active_until: OrderedDict[str, float] = OrderedDict()
        """Of each active user, who was active longest ago first."""

    def of(self, user_id: str) -> Turn:
        """Return a turn for a request of the user, who is active from now on."""
        now = self._clock()
        self._active_until[user_id] = now + ACTIVE_SECONDS
        self._active_until.move_to_end(user_id)
        while self._active_until[oldest := next(iter(self._active_until))] <= now:
            del self._active_until[oldest]
        self._places.share = max(1, self._count // len(self._active_until))
        # Spread, so that requests that give up don't do so all at once.
        return Turn(self._places, user_id, self._wait_seconds * random.uniform(0.8, 1.2))  # noqa: S311


class Turn:
    """A turn, as a context of one request."""

    def __init__(self, places: FairSemaphore, user_id: str, wait_seconds: float) -> None:
        self._places = places
        self._user_id = user_id
        self._wait_seconds = wait_seconds
        self._is_held = False

    async def __aenter__(self) -> Self:
        """Wait for it.

        Raises:
            OverloadedError: the user's other requests took too long.
        """
        await self._take()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._is_held:
            self._give_back()

    @asynccontextmanager
    async def suspended(self) -> AsyncIterator[None]:
        """Leave the turn to the user's other requests while what runs inside only waits.

        Raises:
            OverloadedError: as for entering it, at the end.
        """
        self._give_back()
        yield
        await self._take()

    async def _take(self) -> None:
        try:
            await self._places.acquire(self._user_id, seconds=self._wait_seconds)
        except TimeoutError as error:
            raise OverloadedError(
                "Your other requests took the time of this one, which had no effect; send fewer at once"
            ) from error
        self._is_held = True

    def _give_back(self) -> None:
        self._is_held = False
        self._places.release(self._user_id)
