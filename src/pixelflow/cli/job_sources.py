"""Sources that arguments name: earlier jobs and their outputs, URLs, and objects in named buckets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import typer

from pixelflow.client import BucketSource, InvalidRequestError, JobSource, UrlSource


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


def parse_place(value: str) -> UrlSource | BucketSource | None:
    """Return the source of ``https://…``, ``http://…`` or ``s3://BUCKET/KEY``; ``None`` if it is no URL.

    Raises:
        typer.BadParameter: it is another URL, or lacks the bucket or the key. A query is never shown.
    """
    if value.lower().startswith(("https://", "http://")):
        return UrlSource(value)
    if value.lower().startswith("s3://"):
        bucket, _, key = value[len("s3://") :].partition("/")
        if not bucket or not key:
            raise typer.BadParameter(f"{value!r} must have a bucket and a key, such as s3://originals/photos/1.jpg.")
        return BucketSource(bucket, key)
    if "://" in value:
        raise typer.BadParameter(f"{value.partition('://')[0]!r} URLs can't be fetched, only https, http and s3.")
    return None


def parse_urls(urls: Sequence[str], file: Path | None) -> list[UrlSource | BucketSource]:
    """Return the sources of URLs and of a file with one URL per line; empty lines and those with ``#`` are left out.

    Raises:
        typer.BadParameter: one is no URL of a source.
        InvalidRequestError: the file can't be read as text.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines() if file else []
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"{file} can't be read as text", ()) from error
    named = [line.strip() for line in lines]
    return [_place(url) for url in [*urls, *(line for line in named if line and not line.startswith("#"))]]


def _place(url: str) -> UrlSource | BucketSource:
    if (source := parse_place(url)) is None:
        raise typer.BadParameter("Sources must be URLs such as https://img.example/1.jpg or s3://originals/1.jpg.")
    return source
