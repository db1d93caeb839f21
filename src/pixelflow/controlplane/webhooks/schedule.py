"""When an event is tried again, and when no more. Pure: time and chance come in as numbers.

Standard Webhooks recommends such a schedule: exponential, over more than a day, with jitter.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from pixelflow.adapters.outbound_http import HttpResponse
from pixelflow.contracts.errors import PixelflowError, TargetError
from pixelflow.contracts.webhooks import DeliveryOutcome

DELAYS = (5.0, 30.0, 120.0, 600.0, 3600.0, 21_600.0, 86_400.0)
"""Seconds before the second, third … try."""
JITTER = 0.1
"""By how much of itself a delay is longer or shorter: what failed together should not come back together."""
MAX_RETRY_AFTER = 86_400.0
"""Seconds; a receiver can't put an event off for longer."""


@dataclass(frozen=True)
class DeliveryDecision:
    """What a try came to."""

    outcome: DeliveryOutcome
    delay: timedelta | None = None
    """Until the next try; None: there is none."""


def decide(result: HttpResponse | PixelflowError, *, tries: int, now: datetime, jitter: float) -> DeliveryDecision:
    """What becomes of an event after a try.

    Args:
        result: what the try brought. An error that is not the target's is ours, and counts as any failure.
        tries: made, this one included.
        now: when it ended.
        jitter: from 0 to 1.
    """
    if isinstance(result, HttpResponse):
        if HTTPStatus(200) <= result.status < HTTPStatus(300):
            return DeliveryDecision(DeliveryOutcome.DELIVERED)
        if result.status == HTTPStatus.GONE:
            return DeliveryDecision(DeliveryOutcome.REFUSED)
    elif isinstance(result, TargetError) and not result.retryable:
        return DeliveryDecision(DeliveryOutcome.REFUSED)
    if tries > len(DELAYS):
        return DeliveryDecision(DeliveryOutcome.EXHAUSTED)
    seconds = DELAYS[tries - 1] * (1 + JITTER * (2 * jitter - 1))
    return DeliveryDecision(DeliveryOutcome.RETRIED, timedelta(seconds=max(seconds, _asked_for(result, now))))


def _asked_for(result: HttpResponse | PixelflowError, now: datetime) -> float:
    """Seconds that the receiver asked for by ``Retry-After`` (RFC 9110, 10.2.3): a number, or a date."""
    value = result.headers.get("retry-after", "").strip() if isinstance(result, HttpResponse) else ""
    if value.isascii() and value.isdigit():
        return min(float(value), MAX_RETRY_AFTER)
    try:
        seconds = (parsedate_to_datetime(value) - now).total_seconds()
    except (ValueError, TypeError, OverflowError):  # the last: a year or an offset beyond all calendars
        return 0.0
    return min(seconds, MAX_RETRY_AFTER)
