"""Constraints between the retention periods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from pixelflow.settings.errors import variable

SLOWEST_TRANSFER = timedelta(hours=1)
"""The longest that one file transfer takes. An upload URL is checked only when the upload begins, and a worker checks
its lease only between files, so a transfer that has begun may end this much later."""
MAX_DAYS = 36_500
"""A century."""
PERIOD_SETTINGS = {*(f"retention_{name}_days" for name in ("source", "output", "job", "upload")), "upload_url_seconds"}
"""The settings that :func:`period_errors` reads."""


def upload_grace(upload_url_seconds: float, lease_seconds: float) -> timedelta:
    """How long after a job's end or erasure its files may still arrive, by an upload URL or from a worker."""
    return timedelta(seconds=upload_url_seconds + lease_seconds) + SLOWEST_TRANSFER


def period_errors(settings: Mapping[str, Any], *, grace: timedelta) -> Iterator[str]:
    """What is wrong with periods that contradict each other.

    A file is removed only when it can't arrive again: while an upload URL is valid, or a worker may be storing outputs,
    it could.

    Args:
        settings: the ``PERIOD_SETTINGS`` by name.
        grace: the :func:`upload_grace`.
    """
    source, output, job, upload = (f"retention_{name}_days" for name in ("source", "output", "job", "upload"))
    for name in (source, output, job):
        yield from _too_short(name, settings[name], grace, "files may still arrive for so long after a job's end")
    url_validity = timedelta(seconds=settings["upload_url_seconds"])
    yield from _too_short(upload, settings[upload], url_validity, "the upload URL is valid for so long")
    for name in (source, output):
        if (settings[name] or 0) > (settings[job] or MAX_DAYS):
            yield f"{variable(name)} must be at most {variable(job)}: files are deleted with their job at the latest"


def _too_short(name: str, days: float | None, least: timedelta, reason: str) -> Iterator[str]:
    if days is not None and timedelta(days=days) < least:
        least_days = f"{least / timedelta(days=1):.6f}".rstrip("0").rstrip(".")
        yield f"{variable(name)} must be at least {least_days} days: {reason}"
