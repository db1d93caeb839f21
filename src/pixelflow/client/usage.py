"""What the API can be asked about usage; as in ``operations``, each operation is told once for both clients."""

from __future__ import annotations

from datetime import date
from urllib.parse import urlencode

from pixelflow.client.calls import answered
from pixelflow.client.exchange import Operation, Request, Response
from pixelflow.client.retries import send
from pixelflow.client.session import Session
from pixelflow.contracts.usage import UsageByDay, UsageByUser


def get_usage_by_day(
    session: Session,
    *,
    from_day: date | None = None,
    to_day: date | None = None,
    user_id: str | None = None,
    all_users: bool = False,
) -> Operation[UsageByDay]:
    """The sums of every day of UTC from ``from_day`` on and before ``to_day``, also of those without jobs.

    Args:
        session: of the client.
        from_day: the first day; left out: 30 days before ``to_day``.
        to_day: the day after the last one; left out: tomorrow.
        user_id: whose; anybody's but one's own needs ``admin``.
        all_users: everybody's together; needs ``admin``.

    Raises:
        ApiError: the API refused; ``insufficient_scope`` without ``admin`` where that is needed.
        ConnectionFailedError: no answer.
    """
    response = yield from _ask(session, {**_wanted(from_day, to_day, user_id, all_users=all_users), "group_by": "day"})
    return answered(response, UsageByDay)


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
    """One page of the sums of users, by their ids; ``next_cursor`` of a page is the ``cursor`` of the next.

    Args:
        session: of the client.
        from_day: as for :func:`get_usage_by_day`.
        to_day: as for :func:`get_usage_by_day`.
        user_id: as for :func:`get_usage_by_day`.
        all_users: as for :func:`get_usage_by_day`.
        limit: users at most; left out: 1000.
        cursor: of the page before.

    Raises:
        ApiError: the API refused; ``insufficient_scope`` without ``admin`` where that is needed.
        ConnectionFailedError: no answer.
    """
    response = yield from _ask(
        session,
        {
            **_wanted(from_day, to_day, user_id, all_users=all_users),
            "group_by": "user",
            "limit": limit,
            "cursor": cursor,
        },
    )
    return answered(response, UsageByUser)


def _ask(session: Session, asked: dict[str, object]) -> Operation[Response]:
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    response = yield from send(session, Request("GET", session.url(f"/v1/usage?{query}"), session.headers()))
    return response


def _wanted(from_day: date | None, to_day: date | None, user_id: str | None, *, all_users: bool) -> dict[str, object]:
    return {"from": from_day, "to": to_day, "user_id": user_id, "all_users": "true" if all_users else None}
