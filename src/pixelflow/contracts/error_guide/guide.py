"""The guide to one error code, and sentences that several of them have."""

from __future__ import annotations

from typing import NamedTuple

NO = "No: the same request fails again."
NO_JOB = "No: every attempt would fail. Create a new job."
LATER = "Yes, with the same `Idempotency-Key`, after the seconds in `Retry-After`."
SAME_KEY = "with the same `Idempotency-Key` or a new one."
BACKING = "The operator checks `/readyz`, which names the services that are not available, and the log of the process."
BY_ITSELF = "PixelFlow tries again by itself. If it becomes the error of a job, call `retry`."


class Guide(NamedTuple):
    """The guide to one code, as sentences in Markdown that has only code spans."""

    meaning: str
    change: str
    retry: str
