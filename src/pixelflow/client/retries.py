"""Sends a request and retries it if another attempt may succeed. Every request is idempotent: see ``Request``."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime

from pixelflow.client.errors import ConnectionFailedError
from pixelflow.client.models import Operation, Request, Response, Sleep
from pixelflow.client.session import Session

MAX_ATTEMPTS = 4
"""Attempts of one request. Attempts that a rate limit rejects with ``Retry-After`` are not counted."""
MAX_RATE_LIMIT_WAIT = 300.0
"""Total seconds that one request waits for a rate limit. If many requests wait, as in a batch, only some succeed each
time, so a limit on attempts would fail the others."""
INITIAL_BACKOFF = 0.2
"""Seconds before the second attempt. Each further attempt doubles it; jitter takes off up to a half."""
MAX_BACKOFF = 5.0
"""Seconds at which the backoff stops doubling."""
MAX_OUTAGE = 60.0
"""Seconds that a caller who waits for a job or a batch, or watches jobs, goes on without an answer: longer than an API
takes to restart."""
MAX_RETRY_AFTER = 60.0
"""Seconds. A response that asks for a longer wait is returned to the caller."""

_CONFLICT = 409
_TOO_MANY_REQUESTS = 429
_TRANSIENT = frozenset({_TOO_MANY_REQUESTS, 502, 503, 504})
"""Statuses that another attempt may not get."""


def send(
    session: Session, request: Request, *, deadline: float | None = None, final: Collection[str] = ()
) -> Operation[Response]:
    """Send ``request``, retry it if needed, and return the last response, with any status.

    Args:
        session: of the client.
        request: sent unchanged on each attempt.
        deadline: on the session's clock; no further attempt starts after it.
        final: error codes that another attempt would only repeat.

    Raises:
        ConnectionFailedError: the last attempt got no response.
    """
    state, repeated = _RetryState(), False
    while True:
        outcome = yield from _attempt(request)
        if isinstance(outcome, Response) and not outcome.succeeded and _code_of(outcome) in final:
            break
        delay = _next_delay(session, outcome, state)
        if delay is None or (deadline is not None and session.clock() + delay > deadline):
            break
        repeated = repeated or _may_have_taken_effect(outcome)
        yield Sleep(delay)
    if isinstance(outcome, ConnectionFailedError):
        raise outcome
    return replace(outcome, repeated=repeated)


def _code_of(response: Response) -> object:
    try:
        problem = json.loads(response.body)
    except (ValueError, RecursionError):
        return None
    return problem.get("code") if isinstance(problem, dict) else None


def _attempt(request: Request) -> Operation[Response | ConnectionFailedError]:
    try:
        response: Response = yield request
    except ConnectionFailedError as error:
        return error
    return response


@dataclass
class _RetryState:
    """The attempts of one request so far."""

    attempts: int = 0
    rate_limited: int = 0
    """Rejections by a rate limit with ``Retry-After``."""
    rate_limit_wait: float = 0.0
    """Seconds waited for the rate limit."""


def _next_delay(session: Session, outcome: Response | ConnectionFailedError, state: _RetryState) -> float | None:
    """Seconds until the next attempt; None if there is none."""
    wait = retry_after(outcome) if isinstance(outcome, Response) else None
    if wait is not None and wait > MAX_RETRY_AFTER:
        return None
    if isinstance(outcome, Response) and outcome.status == _TOO_MANY_REQUESTS and wait is not None:
        state.rate_limited += 1
        delay = wait + backoff(session, state.rate_limited)
        state.rate_limit_wait += delay
        return delay if state.rate_limit_wait <= MAX_RATE_LIMIT_WAIT else None
    state.attempts += 1
    if state.attempts >= MAX_ATTEMPTS or not is_transient(outcome):
        return None
    # The backoff is added to Retry-After, so that no client returns too early.
    return (wait or 0.0) + backoff(session, state.attempts)


def backoff(session: Session, attempts: int) -> float:
    """Seconds before the attempt that follows so many."""
    return min(MAX_BACKOFF, INITIAL_BACKOFF * 2.0 ** (attempts - 1)) * (1 - session.jitter() / 2)


def is_transient(outcome: Response | ConnectionFailedError) -> bool:
    """Whether another attempt may succeed."""
    if isinstance(outcome, ConnectionFailedError):
        return outcome.transient
    # A conflict with Retry-After: an earlier attempt of the same request is still in progress.
    return outcome.status in _TRANSIENT or (outcome.status == _CONFLICT and "retry-after" in outcome.headers)


def _may_have_taken_effect(outcome: Response | ConnectionFailedError) -> bool:
    if isinstance(outcome, ConnectionFailedError):
        return outcome.sent
    # The rate limit rejects a request before it takes effect; a 5xx may come after.
    return outcome.status != _TOO_MANY_REQUESTS


def retry_after(response: Response) -> float | None:
    """Seconds of ``Retry-After`` (RFC 9110, 10.2.3): a number, or a date relative to the ``Date`` header."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        span = parsedate_to_datetime(value) - parsedate_to_datetime(response.headers.get("date", ""))
    except (ValueError, TypeError, OverflowError):  # OverflowError: a year or an offset out of range
        return None
    return max(0.0, span.total_seconds())
