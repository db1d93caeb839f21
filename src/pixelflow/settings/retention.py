"""Constraints between the retention periods."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic_core import PydanticCustomError

from pixelflow.settings.errors import variable

SLOWEST_TRANSFER = timedelta(hours=1)
"""The longest that one file transfer takes. An upload URL is checked only when the upload begins, and a worker checks
its lease only between files, so a transfer that has begun may end this much later."""
MAX_DAYS = 36_500
"""A century."""
PERIOD_SETTINGS = {*(f"retention_{name}_days" for name in ("source", "output", "job", "upload")), "upload_url_seconds"}
"""The settings that :func:`check_periods` reads."""


def upload_grace(upload_url_seconds: float, lease_seconds: float) -> timedelta:
    """How long after a job's end or erasure its files may still arrive, by an upload URL or from a worker."""
    return timedelta(seconds=upload_url_seconds + lease_seconds) + SLOWEST_TRANSFER


def check_periods(settings: Mapping[str, Any], *, grace: timedelta) -> None:
    """Refuse periods that contradict each other.

    A file is removed only when it can't arrive again: while an upload URL is valid, or a worker may be storing outputs,
    it could.

    Args:
        settings: the ``PERIOD_SETTINGS`` by name.
        grace: the :func:`upload_grace`.

    Raises:
        PydanticCustomError: a period is too short or too long.
    """
    source, output, job, upload = (f"retention_{name}_days" for name in ("source", "output", "job", "upload"))
    for name in (source, output, job):
        _check_least(name, settings[name], grace, "files may still arrive for so long after a job's end")
    url_validity = timedelta(seconds=settings["upload_url_seconds"])
    _check_least(upload, settings[upload], url_validity, "the upload URL is valid for so long")
    for name in (source, output):
        if (settings[name] or 0) > (settings[job] or MAX_DAYS):
            raise PydanticCustomError(
                "files_outlive_their_job",
                "{name} must be at most {job}: files are deleted with their job at the latest",
                {"name": variable(name), "job": variable(job)},
            )


def _check_least(name: str, days: float | None, least: timedelta, reason: str) -> None:
    if days is not None and timedelta(days=days) < least:
        least_days = f"{least / timedelta(days=1):.6f}".rstrip("0").rstrip(".")
        raise PydanticCustomError(
            "kept_too_short",
            "{name} must be at least {least} days: {reason}",
            {"name": variable(name), "least": least_days, "reason": reason},
        )
