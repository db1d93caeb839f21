"""A semaphore whose places are divided fairly among owners, so that none of them can take all."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class FairSemaphore:
    """At most ``share`` places for one owner.

    Owners that wait get free places in turn; each owner's waiters are served in order.
    """

    def __init__(self, places: int, *, share: int) -> None:
        self._free = places
        self._share = share
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def place(self, owner: str) -> AsyncIterator[None]:
        """Hold a place, however long it takes to get it."""
        await self.acquire(owner, seconds=None)
        try:
            yield
        finally:
            self.release(owner)

    async def acquire(self, owner: str, *, seconds: float | None) -> None:
        """Take a place; give it back with ``release``.

        Raises:
            TimeoutError: none was free within ``seconds``.
        """
        if self._may_take(owner) and owner not in self._waiting:
            self._take(owner)
        else:
            await self._wait(owner, seconds)

    def release(self, owner: str) -> None:
        """Give a place back."""
        self._free += 1
        self._held[owner] -= 1
        if not self._held[owner]:
            del self._held[owner]
        if self._waiting:
            self._give_places()

    def _may_take(self, owner: str) -> bool:
        return self._free > 0 and self._held[owner] < self._share

    def _take(self, owner: str) -> None:
        self._free -= 1
        self._held[owner] += 1

    async def _wait(self, owner: str, seconds: float | None) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(turn)
        try:
            async with asyncio.timeout(seconds):
                await turn
        except BaseException:
            if turn.cancelled():
                self._withdraw(owner, turn)
            else:  # the place was given in the same iteration of the event loop
                self.release(owner)
            raise

    def _withdraw(self, owner: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(owner, deque())
        with suppress(ValueError):
            turns.remove(turn)
        if not turns:
            self._waiting.pop(owner, None)

    def _give_places(self) -> None:
        for owner in list(self._waiting):
            if self._free and self._held[owner] < self._share:
                self._give_place(owner)

    def _give_place(self, owner: str) -> None:
        turns = self._waiting.pop(owner)
        while turns:
            turn = turns.popleft()
            if not turn.done():
                self._take(owner)
                turn.set_result(None)
                break
        if turns:
            self._waiting[owner] = turns  # behind the others that wait
