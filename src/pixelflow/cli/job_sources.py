"""Sources that arguments name: earlier jobs and their outputs."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import typer

from pixelflow.client import JobSource


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
