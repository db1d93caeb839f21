"""Sources that arguments name: earlier jobs and their outputs, and URLs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import typer

from pixelflow.client import InvalidRequestError, JobSource, UrlSource


def parse_sources(jobs: Sequence[str], hint: str) -> list[JobSource]:
    """Return the sources of arguments such as ``JOB_ID`` and ``JOB_ID:STEP``; ``hint`` names the option."""
    sources = []
    for job in jobs:
        job_id, _, step = job.partition(":")
        try:
            sources.append(JobSource(UUID(job_id), step or None))
        except ValueError as error:
            raise typer.BadParameter(
                "must be the ID of a job, such as JOB_ID or JOB_ID:STEP", param_hint=hint
            ) from error
    return sources


def parse_urls(urls: Sequence[str], file: Path | None) -> list[UrlSource]:
    """Return the sources of URLs and of a file with one URL per line; empty lines and those with ``#`` are left out.

    Raises:
        InvalidRequestError: the file can't be read as text.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines() if file else []
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"{file} can't be read as text", ()) from error
    named = [line.strip() for line in lines]
    return [UrlSource(url) for url in [*urls, *(line for line in named if line and not line.startswith("#"))]]
