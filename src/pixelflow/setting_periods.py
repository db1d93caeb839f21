"""For how long things are kept, in days, and what of that can't be together. Reads no environment.

A file is removed when nobody can bring it back: for so long an upload URL is valid, or a worker may be storing outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, TypeAlias

from pydantic import Field
from pydantic_core import PydanticCustomError

from pixelflow.setting_sentences import variable

SLOWEST_TRANSFER = timedelta(hours=1)
"""A URL is judged when an upload begins, and a worker asks for its lease between files: what began takes its time."""
_A_CENTURY = 36_500

SourceDays: TypeAlias = Annotated[
    float | None,
    Field(
        gt=0, le=_A_CENTURY, description="Days from a job's end until its uploaded source goes. Default: with the job"
    ),
]
OutputDays: TypeAlias = Annotated[
    float | None,
    Field(gt=0, le=_A_CENTURY, description="Days from a job's end until its outputs go. Default: with the job"),
]
JobDays: TypeAlias = Annotated[
    float | None,
    Field(
        ge=1,
        le=_A_CENTURY,
        description="Days from a job's end until it goes, with its files; its usage stays. Default: never",
    ),
]
UploadDays: TypeAlias = Annotated[
    float,
    Field(
        gt=0,
        le=_A_CENTURY,
        description="Days from a job's creation until it goes, with its upload, if it never started",
    ),
]
HistoryDays: TypeAlias = Annotated[
    float,
    Field(ge=1, le=_A_CENTURY, description="Days until finished attempts, and events with their deliveries, go"),
]


TOGETHER = {*(f"retention_{name}_days" for name in ("source", "output", "job", "upload")), "upload_url_seconds"}
"""Settings that ``check`` looks at."""


def upload_grace(upload_url_seconds: float, lease_seconds: float) -> timedelta:
    """How long after a job's end or erasure its files may still arrive."""
    return timedelta(seconds=upload_url_seconds + lease_seconds) + SLOWEST_TRANSFER


def check(settings: Mapping[str, Any], *, upload_grace: timedelta) -> None:
    """Refuse what can't be together.

    Args:
        settings: those of ``TOGETHER``, by name.
        upload_grace: how long after a job's end its files may still arrive.

    Raises:
        PydanticCustomError: why.
    """
    source, output, job, upload = (f"retention_{name}_days" for name in ("source", "output", "job", "upload"))
    for name in (source, output, job):
        _check_least(name, settings[name], upload_grace, "files of a job that is over may still come in")
    _check_least(upload, settings[upload], timedelta(seconds=settings["upload_url_seconds"]), "the upload URL is valid")
    for name in (source, output):
        if (settings[name] or 0) > (settings[job] or _A_CENTURY):
            raise PydanticCustomError(
                "files_outlive_their_job",
                "{name} must be at most {job}: files go with their job, at the latest",
                {"name": variable(name), "job": variable(job)},
            )


def _check_least(name: str, days: float | None, least: timedelta, why: str) -> None:
    if days is not None and timedelta(days=days) < least:
        raise PydanticCustomError(
            "kept_too_short",
            "{name} must be at least {least} days: for so long {why}",
            {"name": variable(name), "least": f"{least / timedelta(days=1):.6f}".rstrip("0").rstrip("."), "why": why},
        )
