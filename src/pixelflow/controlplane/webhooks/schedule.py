"""The retry schedule of webhooks. Pure: the time and the random number are arguments.

Follows the recommendation of Standard Webhooks: exponential delays over more than a day, with jitter.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from pixelflow.adapters.outbound_http import HttpResponse
from pixelflow.contracts.webhooks import DeliveryOutcome
from pixelflow.errors import PixelflowError, TargetError

DELAYS = (5.0, 30.0, 120.0, 600.0, 3600.0, 21_600.0, 86_400.0)
"""Seconds before the second, third … attempt."""
JITTER = 0.1
"""Fraction by which a delay varies, so that events that failed together are not retried together."""
MAX_RETRY_AFTER = 86_400.0
"""Seconds; the longest ``Retry-After`` that is honored."""


@dataclass(frozen=True)
class DeliveryDecision:
    """The outcome of an attempt."""

    outcome: DeliveryOutcome
    delay: timedelta | None = None
    """Until the next attempt; ``None``: no further attempt."""


def decide(result: HttpResponse | PixelflowError, *, attempts: int, now: datetime, jitter: float) -> DeliveryDecision:
    """Decide whether an event is delivered, retried or given up after an attempt.

    Args:
        result: the response or the error. An internal error counts like any failure of the target.
        attempts: made so far, including this one.
        now: the end of the attempt.
        jitter: a random number from 0 to 1.
    """
    if isinstance(result, HttpResponse):
        if HTTPStatus(200) <= result.status < HTTPStatus(300):
            return DeliveryDecision(DeliveryOutcome.DELIVERED)
        if result.status == HTTPStatus.GONE:
            return DeliveryDecision(DeliveryOutcome.REFUSED)
    elif isinstance(result, TargetError) and not result.retryable:
        return DeliveryDecision(DeliveryOutcome.REFUSED)
    if attempts > len(DELAYS):
        return DeliveryDecision(DeliveryOutcome.EXHAUSTED)
    seconds = DELAYS[attempts - 1] * (1 + JITTER * (2 * jitter - 1))
    return DeliveryDecision(DeliveryOutcome.RETRIED, timedelta(seconds=max(seconds, _retry_after(result, now))))


def _retry_after(result: HttpResponse | PixelflowError, now: datetime) -> float:
    """Return the seconds of the ``Retry-After`` header (RFC 9110, 10.2.3), which holds a number or a date; else 0."""
    value = result.headers.get("retry-after", "").strip() if isinstance(result, HttpResponse) else ""
    if value.isascii() and value.isdigit():
        return min(float(value), MAX_RETRY_AFTER)
    try:
        seconds = (parsedate_to_datetime(value) - now).total_seconds()
    except (ValueError, TypeError, OverflowError):  # OverflowError: a year or an offset out of range
        return 0.0
    return min(seconds, MAX_RETRY_AFTER)
