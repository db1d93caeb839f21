"""Sends a request, again where that may help. Any request may be sent again: see ``Request``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime

from pixelflow.client.errors import ConnectionFailedError
from pixelflow.client.exchange import Operation, Request, Response, Sleep
from pixelflow.client.session import Session

TRIES = 4
"""Times that a request is sent at most, those not counted that a rate limit put off."""
PATIENCE = 300.0
"""Seconds by which a rate limit may put one request off, altogether. Of many that wait for it, as of a batch, only some
get through each time; so tries don't count there."""
FIRST_PAUSE = 0.2
"""Seconds before the second try; doubles with every further one, less up to a half by chance so that clients spread."""
LONGEST_BACKOFF = 5.0
"""Seconds; it doubles no further."""
LONGEST_PAUSE = 60.0
"""Seconds; an answer that asks for more patience than this is handed to the caller instead."""

_CONFLICT = 409
_TOO_MANY_REQUESTS = 429
_PASSING = frozenset({_TOO_MANY_REQUESTS, 502, 503, 504})
"""Statuses that a later try may get past."""


def send(session: Session, request: Request, *, deadline: float | None = None) -> Operation[Response]:
    """The answer to ``request``, whatever its status, after as many tries as are due.

    Args:
        session: of the client.
        request: sent as it is, each time.
        deadline: by the session's clock; no further try begins past it.

    Raises:
        ConnectionFailedError: the last try brought no answer.
    """
    spent, repeated = _Spent(), False
    while True:
        outcome = yield from _try(request)
        pause = _pause(session, outcome, spent)
        if pause is None or (deadline is not None and session.clock() + pause > deadline):
            break
        repeated = repeated or _may_have_acted(outcome)
        yield Sleep(pause)
    if isinstance(outcome, ConnectionFailedError):
        raise outcome
    return replace(outcome, repeated=repeated)


def _try(request: Request) -> Operation[Response | ConnectionFailedError]:
    try:
        response: Response = yield request
    except ConnectionFailedError as error:
        return error
    return response


@dataclass
class _Spent:
    """On one request, until now."""

    tries: int = 0
    refusals: int = 0
    """By a rate limit that says when to come back."""
    seconds: float = 0.0
    """By which those have put it off."""


def _pause(session: Session, outcome: Response | ConnectionFailedError, spent: _Spent) -> float | None:
    """Seconds until the next try; None when there is to be none."""
    asked = _retry_after(outcome) if isinstance(outcome, Response) else None
    if asked is not None and asked > LONGEST_PAUSE:
        return None
    if isinstance(outcome, Response) and outcome.status == _TOO_MANY_REQUESTS and asked is not None:
        spent.refusals += 1
        pause = asked + _backoff(session, spent.refusals)
        spent.seconds += pause
        return pause if spent.seconds <= PATIENCE else None
    spent.tries += 1
    if spent.tries >= TRIES or not _is_passing(outcome):
        return None
    # Chance is added to what was asked for, not taken off: nobody comes back earlier.
    return (asked or 0.0) + _backoff(session, spent.tries)


def _backoff(session: Session, times: int) -> float:
    return min(LONGEST_BACKOFF, FIRST_PAUSE * 2.0 ** (times - 1)) * (1 - session.jitter() / 2)


def _is_passing(outcome: Response | ConnectionFailedError) -> bool:
    if isinstance(outcome, ConnectionFailedError):
        return outcome.transient
    # A conflict that is over in a moment: the first try of this very request is still being answered.
    return outcome.status in _PASSING or (outcome.status == _CONFLICT and "retry-after" in outcome.headers)


def _may_have_acted(outcome: Response | ConnectionFailedError) -> bool:
    if isinstance(outcome, ConnectionFailedError):
        return outcome.sent
    # The rate limit refuses before anything is done; behind a 5xx it may have been done.
    return outcome.status != _TOO_MANY_REQUESTS


def _retry_after(response: Response) -> float | None:
    """Seconds asked for by ``Retry-After`` (RFC 9110, 10.2.3): a number, or a date, read against ``Date`` beside it."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        span = parsedate_to_datetime(value) - parsedate_to_datetime(response.headers.get("date", ""))
    except (ValueError, TypeError, OverflowError):  # the last: a year or an offset beyond all calendars
        return None
    return max(0.0, span.total_seconds())
