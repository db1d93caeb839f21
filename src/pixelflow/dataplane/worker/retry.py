"""Retry delay of a failed attempt: exponential backoff with jitter. Pure functions; callers pass randomness in."""

from __future__ import annotations

MAX_RETRY_SECONDS = 300.0
MAX_SERVICE_RETRY_SECONDS = 30.0
"""For attempts that failed because of the service and do not count: shorter, since breakers hold workers back."""


def retry_seconds(attempts_made: int, jitter: float, *, longest: float = MAX_RETRY_SECONDS) -> float:
    """Return the delay before the next attempt, in seconds: 1, 4, 16 … up to ``longest``, half of it random.

    With the default of five attempts a job survives an outage of at least 40 s, such as a restart of a dependency.
    "Equal jitter" spreads out jobs that failed together and still waits at least half of the full delay (M. Brooker,
    Exponential Backoff and Jitter, 2015).

    Args:
        attempts_made: number of attempts made so far, at least 1.
        jitter: a random number from 0 to 1.
        longest: limit of the delay, in seconds.
    """
    full_delay = min(longest, 4.0 ** min(attempts_made - 1, 10))
    return full_delay / 2 + jitter * full_delay / 2
