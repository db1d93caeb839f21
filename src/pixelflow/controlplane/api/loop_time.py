"""The time of an API process's event loop, divided among users: none of them keeps it from the others.

All requests share one event loop, which runs what is ready in the order of arrival. A request has some ten steps, and
at each of them it waits behind a step of every other request. So the steps of each user's requests are timed, and a
user who had more than a share of a busy loop waits with the next request. A loop that has time begins it nevertheless.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, TypeVar

from pixelflow.errors import TooManyRequestsError

T = TypeVar("T")

SHARE = 0.5
"""Of the loop's time that users with waiting requests have together, however busy others keep the loop."""
ACTIVE_SECONDS = 2.0
"""A user counts as active for this time after a request."""
ADVANCE_SECONDS = 0.02
"""Of the loop's time that a user may have used beyond the share when a request begins: most users never wait."""
MIN_COST_SECONDS = 0.001
"""Least cost of a request. When one begins, its user is charged what the latest ones used, but at least this. Otherwise
many would begin before their steps are charged."""
MAX_PREPAID_SECONDS = 0.005
"""Most that is charged at the beginning: a request may only wait."""
MAX_DEBT_SECONDS = 1.0
"""Most that is held against a user: who used a loop that had time must not wait for long when others come."""
MAX_WAITING = 200
"""Requests of one user that wait for their beginning. Further ones are refused."""
TICK_SECONDS = 0.002
"""Between two looks at waiting requests."""
IDLE_SECONDS = 0.001
"""A loop that runs a timer at most so late has time for more requests."""
_MAX_LOOKED_AT = 16
"""Users in a tick. One that begins none of their requests takes 13 µs."""


@dataclass
class _User:
    user_id: str
    settled_at: float
    used: float = 0.0
    """Seconds of the loop's time, less what the share allowed until ``settled_at``."""
    active_until: float = 0.0
    typical: float = MIN_COST_SECONDS
    """What a request uses, in seconds."""
    in_progress: int = 0
    waiting: dict[asyncio.Future[float], None] = field(default_factory=dict)
    """In order of arrival. The results are what was charged."""

    def charge_beginning(self) -> float:
        """Charge for a request that begins; return how much."""
        paid = min(self.typical, MAX_PREPAID_SECONDS)
        self.used += paid
        self.in_progress += 1
        return paid

    def give_back(self, seconds: float) -> None:
        """Give back what was charged too much for a request that ends; more was charged with its steps."""
        self.used = max(0.0, self.used - max(0.0, seconds))
        self.in_progress -= 1


class LoopTime:
    """Divides the time of the event loop among the users of this process. Of its event loop only."""

    def __init__(
        self,
        *,
        wait_seconds: float,
        idle_seconds: float = IDLE_SECONDS,
        on_wait: Callable[[float], None] = lambda _: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Divide it anew.

        Args:
            wait_seconds: about how long a request may wait for its beginning.
            idle_seconds: how late a timer may be in a loop that has time.
            on_wait: called with how long a request waited, if it did.
            clock: a monotonic clock in seconds.
        """
        self._wait_seconds = wait_seconds
        self._idle_seconds = idle_seconds
        self._on_wait = on_wait
        self._clock = clock
        self._users: OrderedDict[str, _User] = OrderedDict()
        """Who was active longest ago first."""
        self._crowds: OrderedDict[str, _User] = OrderedDict()
        """The users with waiting requests. Who was looked at longest ago first."""
        self._tick_at: float | None = None

    async def run(
        self,
        user_id: str,
        work: Callable[[], Coroutine[Any, Any, T]],
        while_waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> T:
        """Begin the work of a request when the user's share or the loop allows it, and return its result.

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
        user = self._crowds.get(user_id)
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
        user.used = max(0.0, min(user.used, MAX_DEBT_SECONDS) - (now - user.settled_at) * self._share())
        user.settled_at = now
        if self._is_one_user():
            user.used = min(user.used, ADVANCE_SECONDS)  # nobody missed what is beyond it
            return True
        return user.used < ADVANCE_SECONDS

    def _share(self) -> float:
        return 1.0 if self._is_one_user() else SHARE / max(1, len(self._crowds))

    def _is_one_user(self) -> bool:
        return len(self._users) == 1

    def _forget_inactive(self, now: float) -> None:
        """Forget who was not active for a while. A user whose requests wait or are in progress is active."""
        while self._users:
            user = next(iter(self._users.values()))
            if user.active_until > now:
                return
            if user.in_progress or user.waiting:
                self._activate(user)
            else:
                del self._users[user.user_id]

    # ── Waiting ──────────────────────────────────────────────────────────────────────────────────

    async def _wait(self, user: _User) -> float:
        if len(user.waiting) >= MAX_WAITING:
            raise crowded()
        began = self._clock()
        beginning: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        user.waiting[beginning] = None
        self._crowds[user.user_id] = user
        self._tick_later()
        try:
            # Spread, so that requests that give up don't do so all at once.
            async with asyncio.timeout(self._wait_seconds * random.uniform(0.8, 1.2)):  # noqa: S311
                return await beginning
        except BaseException as error:
            self._withdraw(user, beginning)
            if isinstance(error, TimeoutError):
                raise crowded() from None
            raise
        finally:
            self._on_wait(self._clock() - began)

    def _withdraw(self, user: _User, beginning: asyncio.Future[float]) -> None:
        """Remove a request that gave up, or give back what it was charged in the same moment."""
        if user.waiting.pop(beginning, beginning) is None:
            self._leave_if_empty(user)
        elif not beginning.cancelled():
            user.give_back(beginning.result())

    def _leave_if_empty(self, user: _User) -> None:
        if not user.waiting:
            del self._crowds[user.user_id]

    def _tick_later(self) -> None:
        if self._tick_at is None and self._crowds:
            self._tick_at = self._clock() + TICK_SECONDS
            asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        """Begin what the shares allow, and if the loop has time, more of who used least: as much as fits a tick."""
        is_idle = self._tick_at is not None and self._clock() - self._tick_at <= self._idle_seconds
        self._tick_at = None
        least: _User | None = None
        for user in list(islice(self._crowds.values(), _MAX_LOOKED_AT)):
            self._crowds.move_to_end(user.user_id)
            while user.waiting and self._may_begin(user):
                self._begin_first(user)
            if user.waiting and (least is None or user.used < least.used):
                least = user
        left = TICK_SECONDS if is_idle else 0.0
        while left > 0 and least is not None and least.waiting:
            left -= self._begin_first(least)
        self._tick_later()

    def _begin_first(self, user: _User) -> float:
        """Begin the first of the user's waiting requests; return what was charged."""
        beginning = next(iter(user.waiting))
        del user.waiting[beginning]
        self._leave_if_empty(user)
        if beginning.done():  # it is canceled, and has not withdrawn yet
            return 0.0
        beginning.set_result(user.charge_beginning())
        return beginning.result()


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
            self._user.give_back(self._paid - max(self._seconds, MIN_COST_SECONDS))
            self._user.typical = max(MIN_COST_SECONDS, (self._user.typical + self._seconds) / 2)

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
        self._user.typical = max(self._user.typical, self._seconds)
