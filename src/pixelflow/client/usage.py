"""Operations on usage, shared by both clients. Does no I/O."""

from __future__ import annotations

from datetime import date

from pixelflow.client.api_calls import get
from pixelflow.client.models import Operation
from pixelflow.client.session import Session
from pixelflow.contracts.usage import UsageByDay, UsageByUser

_PATH = "/v1/usage"


def get_usage_by_day(
    session: Session,
    *,
    from_day: date | None = None,
    to_day: date | None = None,
    user_id: str | None = None,
    all_users: bool = False,
) -> Operation[UsageByDay]:
    """Return the sums of each UTC day from ``from_day`` up to but not including ``to_day``.

    Args:
        session: of the client.
        from_day: the first day. Default: 30 days before ``to_day``.
        to_day: the day after the last day. Default: tomorrow.
        user_id: ID of the user. Default: yourself. Other users require the scope ``admin``.
        all_users: sum over all users. Requires the scope ``admin``.

    Raises:
        ApiError: the API rejected the request; ``insufficient_scope`` if the scope ``admin`` is missing.
        ConnectionFailedError: no response.
    """
    query = _filter(from_day, to_day, user_id, all_users=all_users) | {"group_by": "day"}
    return (yield from get(session, _PATH, UsageByDay, query=query))


def get_usage_by_user(
    session: Session,
    *,
    from_day: date | None = None,
    to_day: date | None = None,
    user_id: str | None = None,
    all_users: bool = False,
    limit: int | None = None,
    cursor: str | None = None,
) -> Operation[UsageByUser]:
    """Return one page of the sums of each user, ordered by user ID. ``next_cursor`` is the ``cursor`` of the next page.

    Args:
        session: of the client.
        from_day: as for :func:`get_usage_by_day`.
        to_day: as for :func:`get_usage_by_day`.
        user_id: as for :func:`get_usage_by_day`.
        all_users: as for :func:`get_usage_by_day`.
        limit: largest number of users on the page. Default: 1000.
        cursor: ``next_cursor`` of the previous page.

    Raises:
        ApiError: the API rejected the request; ``insufficient_scope`` if the scope ``admin`` is missing.
        ConnectionFailedError: no response.
    """
    query = _filter(from_day, to_day, user_id, all_users=all_users)
    query |= {"group_by": "user", "limit": limit, "cursor": cursor}
    return (yield from get(session, _PATH, UsageByUser, query=query))


def _filter(from_day: date | None, to_day: date | None, user_id: str | None, *, all_users: bool) -> dict[str, object]:
    return {"from": from_day, "to": to_day, "user_id": user_id, "all_users": "true" if all_users else None}
