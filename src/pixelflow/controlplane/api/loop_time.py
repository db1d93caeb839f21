"""The time of an API process's event loop, divided among users: none of them keeps it from the others.

All requests share one event loop, which runs what is ready in the order of arrival. A request has some ten steps, and
at each of them it waits behind a step of every other request. So the steps of each user's requests are timed, and a
user's next request begins later if the user had more than a share of the loop. What a request waits for, such as a
lock, a body or storage, costs nothing, and a user beside whom nobody is active has the whole loop.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pixelflow.errors import TooManyRequestsError

T = TypeVar("T")

SHARE = 0.5
"""Of the loop's time that users with waiting requests have together while others are active."""
ACTIVE_SECONDS = 2.0
"""A user counts as active for this time after a request."""
ADVANCE_SECONDS = 0.02
"""Of the loop's time that a user may have used beyond the share when a request begins: most users never wait."""
MIN_COST_SECONDS = 0.001
"""Least cost of a request. When one begins, its user is charged what the latest ones used, but at least this. Otherwise
many would begin before their steps are charged."""
MAX_WAITING = 200
"""Requests of one user that wait for their beginning. Further ones are refused."""
_LOOK_SECONDS = 0.001, 0.05
"""Shortest and longest time between two looks at whether a waiting request may begin: others may leave meanwhile."""


@dataclass
class _User:
    user_id: str
    settled_at: float
    used: float = 0.0
    """Seconds of the loop's time, less what the share allowed until ``settled_at``."""
    active_until: float = 0.0
    typical: float = MIN_COST_SECONDS
    """What a request uses, in seconds."""
    waiting: deque[asyncio.Future[float]] = field(default_factory=deque)
    """The results are what was charged."""

    def charge_beginning(self) -> float:
        """Charge for a request that begins; return how much."""
        self.used += self.typical
        return self.typical

    def settle(self, paid: float, seconds: float) -> None:
        """Give back what was charged too much for a request that has ended; more was charged with its steps."""
        self.used = max(0.0, self.used - max(0.0, paid - max(seconds, MIN_COST_SECONDS)))
        self.typical = max(MIN_COST_SECONDS, (self.typical + seconds) / 2)


class LoopTime:
    """Divides the time of the event loop among the users of this process. Of its event loop only."""

    def __init__(self, *, wait_seconds: float, clock: Callable[[], float] = time.perf_counter) -> None:
        """Divide it anew.

        Args:
            wait_seconds: about how long a request may wait for its beginning.
            clock: a monotonic clock in seconds.
        """
        self._wait_seconds = wait_seconds
        self._clock = clock
        self._users: OrderedDict[str, _User] = OrderedDict()
        """Who was active longest ago first."""
        self._crowds = 0
        """How many users have waiting requests."""

    async def run(
        self,
        user_id: str,
        work: Callable[[], Coroutine[Any, Any, T]],
        while_waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> T:
        """Begin the work of a request when the user's share allows it, and return its result.

        ``while_waiting`` opens the context of the time before, if it must wait.

        Raises:
            TooManyRequestsError: too many others of the user wait, or these took too long. It had no effect.
        """
        user = self._activate(self._users.get(user_id) or _User(user_id, settled_at=self._clock()))
        if user.waiting or not self._may_begin(user):
            with while_waiting():
                paid = await self._wait(user)
        else:
            paid = user.charge_beginning()
        return await _Timed(work(), user, paid, self._clock)

    def is_crowded(self, user_id: str) -> bool:
        """Whether so many requests of the user wait that a further one is certain to be refused."""
        user = self._users.get(user_id)
        return user is not None and len(user.waiting) >= MAX_WAITING

    def _activate(self, user: _User) -> _User:
        user.active_until = self._clock() + ACTIVE_SECONDS
        self._users[user.user_id] = user
        self._users.move_to_end(user.user_id)
        return user

    def _may_begin(self, user: _User) -> bool:
        """Credit the user with what the share allowed since the last time, and compare."""
        now = self._clock()
        self._forget_inactive(now)
        user.used = max(0.0, user.used - (now - user.settled_at) * self._share())
        user.settled_at = now
        if self._is_one_user():
            user.used = min(user.used, ADVANCE_SECONDS)  # nobody missed what is beyond it
            return True
        return user.used < ADVANCE_SECONDS

    def _share(self) -> float:
        return 1.0 if self._is_one_user() else SHARE / max(1, self._crowds)

    def _is_one_user(self) -> bool:
        return len(self._users) == 1

    def _forget_inactive(self, now: float) -> None:
        while next(iter(self._users.values())).active_until <= now:  # the caller's user is active
            self._users.popitem(last=False)

    # ── Waiting ──────────────────────────────────────────────────────────────────────────────────

    async def _wait(self, user: _User) -> float:
        if len(user.waiting) >= MAX_WAITING:
            raise crowded()
        beginning: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        user.waiting.append(beginning)
        if len(user.waiting) == 1:
            self._crowds += 1
            self._look_later(user)
        try:
            # Spread, so that requests that give up don't do so all at once.
            async with asyncio.timeout(self._wait_seconds * random.uniform(0.8, 1.2)):  # noqa: S311
                return await beginning
        except TimeoutError:
            raise crowded() from None

    def _look_later(self, user: _User) -> None:
        shortest, longest = _LOOK_SECONDS
        seconds = (user.used - ADVANCE_SECONDS) / self._share()
        asyncio.get_running_loop().call_later(min(max(shortest, seconds), longest), self._look, user)

    def _look(self, user: _User) -> None:
        """Begin what the share allows, in order of arrival, without those that gave up."""
        self._activate(user)
        while user.waiting and (user.waiting[0].done() or self._may_begin(user)):
            beginning = user.waiting.popleft()
            if not beginning.done():
                beginning.set_result(user.charge_beginning())
        if user.waiting:
            self._look_later(user)
        else:
            self._crowds -= 1


def crowded() -> TooManyRequestsError:
    """The error of a request for which there is no time beside the user's others."""
    return TooManyRequestsError(
        "Other requests of yours are in progress, and this one had to wait for them too long. Send fewer at once"
    )


class _Timed(Generic[T]):
    """Awaits a coroutine, and charges the user for the time of its steps."""

    def __init__(self, work: Coroutine[Any, Any, T], user: _User, paid: float, clock: Callable[[], float]) -> None:
        self._work = work
        self._user = user
        self._paid = paid
        self._clock = clock
        self._seconds = 0.0

    def __await__(self) -> Generator[Any, Any, T]:
        try:
            waits_for = self._step(self._work.send, None)
            while True:
                try:
                    yield waits_for
                except BaseException as error:  # noqa: BLE001  # such as a cancellation: it is the coroutine's
                    waits_for = self._step(self._work.throw, error)
                else:
                    waits_for = self._step(self._work.send, None)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            self._user.settle(self._paid, self._seconds)

    def _step(self, resume: Callable[[Any], Any], value: BaseException | None) -> object:
        """Resume the coroutine; return what it waits for next. ``StopIteration``: it has ended."""
        began = self._clock()
        try:
            return resume(value)
        finally:
            value = None  # an exception refers to this frame: in a circle, it would wait for the garbage collector
            self._charge(self._clock() - began)

    def _charge(self, seconds: float) -> None:
        self._seconds += seconds
        self._user.used += max(0.0, min(seconds, self._seconds - self._paid))
