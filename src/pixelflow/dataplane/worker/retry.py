"""When a job is tried again after a failed attempt. Pure: chance comes in as a number."""

from __future__ import annotations

MAX_RETRY_SECONDS = 300.0


def retry_seconds(attempts_made: int, jitter: float) -> float:
    """How long to wait after so many attempts: 1, 4, 16 … s, at most five minutes, the later half of it at random.

    The five attempts that a job has by default outlast an outage of 40 s: a restart of what we stand on fails no job.
    «Equal jitter»: spreads what failed together, and still waits at least half (M. Brooker, Exponential Backoff and
    Jitter, 2015).

    Args:
        attempts_made: at least 1.
        jitter: from 0 to 1.
    """
    full = min(MAX_RETRY_SECONDS, 4.0 ** (attempts_made - 1))
    return full / 2 + jitter * full / 2
