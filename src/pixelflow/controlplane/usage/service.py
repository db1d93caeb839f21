"""Sums of usage, for a user or an admin. Read-only.

Must never reveal anything about other users without the ``admin`` scope, not even whether a user ID exists.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from pixelflow.adapters.fair_semaphore import FairSemaphore
from pixelflow.adapters.postgres.database import EVERYONE, AsyncDatabase, of_user
from pixelflow.contracts.field_errors import validation_failed
from pixelflow.contracts.keys import Scope
from pixelflow.contracts.usage import (
    DEFAULT_DAYS,
    MAX_DAYS,
    UsageByDay,
    UsageByUser,
    UsageOfDay,
    UsageOfUser,
    UsageSums,
    period_error,
)
from pixelflow.controlplane.identity import Identity
from pixelflow.controlplane.usage import store
from pixelflow.controlplane.usage.store import SumsRow
from pixelflow.errors import FieldError

_MAX_REQUESTS = 4
"""Requests that are answered at once. A year takes 2 ms of CPU, so each user is answered one after another."""
_ONE_DAY = timedelta(days=1)
_ZERO = SumsRow(0, 0, 0, 0, 0)


@dataclass(frozen=True)
class UsageFilter:
    """The users and days to sum: ``from_day`` is included, ``to_day`` is not."""

    from_day: date | None = None
    """None: ``DEFAULT_DAYS`` before ``to_day``."""
    to_day: date | None = None
    """None: tomorrow, so that today is included."""
    user_id: str | None = None
    """None: the caller."""
    all_users: bool = False


class UsageQueries:
    """Queries of usage."""

    def __init__(self, database: AsyncDatabase, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database = database
        self._clock = clock
        self._requests = FairSemaphore(_MAX_REQUESTS, share=1)

    async def by_day(self, identity: Identity, usage_filter: UsageFilter) -> UsageByDay:
        """Return the sums of each day.

        Raises:
            InsufficientScopeError: the filter includes other users, and the caller is not an admin.
            ValidationFailedError: the date range is not valid.
        """
        user_id, (first, end) = _select_user(identity, usage_filter), self._date_range(usage_filter)
        async with self._requests.place(identity.user_id):
            by_day = await self._days(user_id, first, end)
            days = [first + n * _ONE_DAY for n in range((end - first).days)]
            await asyncio.sleep(0)  # others run: each part of a year takes a millisecond
            data = [UsageOfDay(day=day, **vars(by_day.get(day, _ZERO))) for day in days]
            await asyncio.sleep(0)
            total = UsageSums(**vars(_total(by_day.values())))
            return UsageByDay(from_day=first, to_day=end, user_id=user_id, total=total, data=data)

    async def by_user(
        self, identity: Identity, usage_filter: UsageFilter, *, limit: int, cursor: str | None
    ) -> UsageByUser:
        """Return the sums of each user who has usage: at most ``limit`` users after ``cursor``, the last ID of a page.

        Raises:
            InsufficientScopeError: as for :meth:`by_day`.
            ValidationFailedError: as for :meth:`by_day`.
        """
        user_id, (first, end) = _select_user(identity, usage_filter), self._date_range(usage_filter)
        async with self._requests.place(identity.user_id):
            if user_id is None:
                total, users = await self._users(first, end, after=cursor or "", limit=limit + 1)
            else:
                total = _total((await self._days(user_id, first, end)).values())
                users = [(user_id, total)] if total != _ZERO else []
            page = [UsageOfUser(user_id=name, **vars(sums)) for name, sums in users[:limit]]
            return UsageByUser(
                from_day=first,
                to_day=end,
                user_id=user_id,
                total=UsageSums(**vars(total)),
                data=page,
                next_cursor=page[-1].user_id if len(users) > limit else None,
            )

    def _date_range(self, usage_filter: UsageFilter) -> tuple[date, date]:
        end = usage_filter.to_day or self._clock().astimezone(UTC).date() + _ONE_DAY
        first = usage_filter.from_day or end - DEFAULT_DAYS * _ONE_DAY
        if period_error(first, end):  # with `to`, the route has checked it
            message = f"must be today or one of the {MAX_DAYS - 1} days before; set `to` for an earlier period"
            raise validation_failed([FieldError(pointer="/query/from", message=message)])
        return first, end

    async def _days(self, user_id: str | None, first: date, end: date) -> dict[date, SumsRow]:
        if user_id is None:
            async with self._database.connection(EVERYONE) as connection:
                return await store.of_everyone_by_day(connection, first=first, end=end)
        async with self._database.connection(of_user(user_id)) as connection:
            return await store.by_day(connection, user_id=user_id, first=first, end=end)

    async def _users(
        self, first: date, end: date, *, after: str, limit: int
    ) -> tuple[SumsRow, list[tuple[str, SumsRow]]]:
        async with self._database.connection(EVERYONE) as connection:
            return await store.of_everyone_by_user(connection, first=first, end=end, after=after, limit=limit)


def _select_user(identity: Identity, usage_filter: UsageFilter) -> str | None:
    """Return the user to query, or ``None`` for all users. The only place that grants access to other users' usage."""
    if usage_filter.all_users or usage_filter.user_id not in {None, identity.user_id}:
        identity.require([Scope.ADMIN])
    return None if usage_filter.all_users else usage_filter.user_id or identity.user_id


def _total(rows: Iterable[SumsRow]) -> SumsRow:
    return SumsRow(*map(sum, zip(*(vars(row).values() for row in (_ZERO, *rows)), strict=True)))
