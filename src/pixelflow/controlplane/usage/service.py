"""Usage summed up, for a user, or for somebody who may administer. Changes nothing.

Whoever lacks ``admin`` learns nothing of others, not even whether there is a user of that id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, astuple, dataclass
from datetime import UTC, date, datetime, time, timedelta

from pixelflow.adapters.postgres.database import EVERYONE, AsyncDatabase, of_user
from pixelflow.contracts.errors import FieldError, ValidationFailedError
from pixelflow.contracts.keys import Scope
from pixelflow.contracts.usage import (
    DEFAULT_DAYS,
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

_ONE_DAY = timedelta(days=1)
_NOTHING = SumsRow(0, 0, 0, 0)


@dataclass(frozen=True)
class UsageFilter:
    """Whose usage, of which days: from ``from_day`` on and before ``to_day``."""

    from_day: date | None = None
    """None: so that it is the usual number of days."""
    to_day: date | None = None
    """None: tomorrow, so that today is the last one."""
    user_id: str | None = None
    """None: of whoever asks."""
    all_users: bool = False


class UsageQueries:
    """What can be seen of usage."""

    def __init__(self, database: AsyncDatabase, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database = database
        self._clock = clock

    async def by_day(self, identity: Identity, wanted: UsageFilter) -> UsageByDay:
        """The sums of each day.

        Raises:
            InsufficientScopeError: it is not only their own, and they are no admin.
            ValidationFailedError: the days can't be summed up.
        """
        user_id, (first, end) = _whose(identity, wanted), self._span(wanted)
        found = await self._days(user_id, first, end)
        days = [first + n * _ONE_DAY for n in range((end - first).days)]
        return UsageByDay(
            from_day=first,
            to_day=end,
            user_id=user_id,
            total=UsageSums(**asdict(_total(found.values()))),
            data=[UsageOfDay(day=day, **asdict(found.get(day, _NOTHING))) for day in days],
        )

    async def by_user(self, identity: Identity, wanted: UsageFilter, *, limit: int, cursor: str | None) -> UsageByUser:
        """The sums of each user who has any, at most ``limit`` from ``cursor`` (the last id seen) on.

        Raises:
            InsufficientScopeError: as for :meth:`by_day`.
            ValidationFailedError: as for :meth:`by_day`.
        """
        user_id, (first, end) = _whose(identity, wanted), self._span(wanted)
        if user_id is None:
            total, users = await self._users(first, end, after=cursor or "", limit=limit + 1)
        else:
            total = _total((await self._days(user_id, first, end)).values())
            users = [(user_id, total)] if total.jobs else []
        page = [UsageOfUser(user_id=name, **asdict(sums)) for name, sums in users[:limit]]
        return UsageByUser(
            from_day=first,
            to_day=end,
            user_id=user_id,
            total=UsageSums(**asdict(total)),
            data=page,
            next_cursor=page[-1].user_id if len(users) > limit else None,
        )

    def _span(self, wanted: UsageFilter) -> tuple[date, date]:
        end = wanted.to_day or self._clock().astimezone(UTC).date() + _ONE_DAY
        first = wanted.from_day or end - DEFAULT_DAYS * _ONE_DAY
        if wrong := period_error(first, end):
            raise ValidationFailedError(
                "These days can't be summed up", [FieldError(pointer="/query/from", message=wrong)]
            )
        return first, end

    async def _days(self, user_id: str | None, first: date, end: date) -> dict[date, SumsRow]:
        since, until = _midnight(first), _midnight(end)
        if user_id is None:
            async with self._database.connection(EVERYONE) as connection:
                return await store.of_everyone_by_day(connection, since=since, until=until)
        async with self._database.connection(of_user(user_id)) as connection:
            return await store.by_day(connection, user_id=user_id, since=since, until=until)

    async def _users(
        self, first: date, end: date, *, after: str, limit: int
    ) -> tuple[SumsRow, list[tuple[str, SumsRow]]]:
        since, until = _midnight(first), _midnight(end)
        async with self._database.connection(EVERYONE) as connection:
            return await store.of_everyone_by_user(connection, since=since, until=until, after=after, limit=limit)


def _whose(identity: Identity, wanted: UsageFilter) -> str | None:
    """The user whose usage it is, ``None`` for everybody's: the one place that lets anybody see beyond their own."""
    if wanted.all_users or wanted.user_id not in {None, identity.user_id}:
        identity.require([Scope.ADMIN])
    return None if wanted.all_users else wanted.user_id or identity.user_id


def _total(rows: Iterable[SumsRow]) -> SumsRow:
    return SumsRow(*map(sum, zip(*map(astuple, (_NOTHING, *rows)), strict=True)))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
