"""Jobs as ``pixelflow jobs`` shows them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

from rich.table import Table

from pixelflow.cli.credentials import find_session
from pixelflow.cli.failures import reported
from pixelflow.cli.output import cell, change, show, show_json, size, table
from pixelflow.client import Client
from pixelflow.contracts.jobs import Job, JobStatus

PAGE = 100
"""Jobs asked for at a time."""
_STYLES = {JobStatus.SUCCEEDED: "green", JobStatus.FAILED: "red", JobStatus.PROCESSING: "yellow"}


def list_jobs(status: str | None, limit: int, *, as_json: bool) -> None:
    """Show the newest ``limit`` jobs, of one status or of all."""
    with reported(), Client(session=find_session()) as client:
        wanted = JobStatus(status) if status else None
        found = list(islice(client.iter_jobs(status=wanted, page_size=min(limit, PAGE)), limit))
    if as_json:
        show_json({"data": [_document(job) for job in found]})
        return
    rows = table("Job", "Status", "Created", "Source", "Outputs", right=("Source", "Outputs"))
    for job in found:
        rows.add_row(
            cell(job.job_id),
            cell(job.status, _STYLES.get(job.status, "")),
            cell(job.created_at.astimezone().strftime("%m-%d %H:%M")),
            cell(size(job.source.bytes) if job.source.bytes else ""),
            cell(size(sum(output.bytes for output in job.outputs)) if job.outputs else ""),
        )
    show(rows)


def show_job(job_id: UUID, *, as_json: bool) -> None:
    """Show all that is known of one job."""
    with reported(), Client(session=find_session()) as client:
        job = client.get_job(job_id)
    if as_json:
        show_json(_document(job))
        return
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(job):
        facts.add_row(cell(name, "bold"), cell(value))
    show(facts)
    if job.outputs:
        show(_outputs(job))


def _document(job: Job) -> dict[str, Any]:
    """As the API answered it: a pipeline has what was asked for, not every default."""
    return job.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _facts(job: Job) -> Iterator[tuple[str, object]]:
    yield "Job", job.job_id
    yield "Status", job.status
    if job.error:
        step = f", step {job.error.step_id}" if job.error.step_id else ""
        yield "Error", f"{job.error.message} ({job.error.code}{step})"
    yield "Source", _source(job)
    yield "Attempts", f"{job.attempts} of {job.max_attempts}"
    moments = {
        "Created": job.created_at,
        "Queued": job.queued_at,
        "Started": job.started_at,
        "Finished": job.finished_at,
        "Kept until": job.expires_at,
    }
    yield from ((name, _when(moment)) for name, moment in moments.items() if moment)
    yield from ((f"Metadata {name}", value) for name, value in job.metadata.items())
    if job.usage:
        yield "Compute time", f"{job.usage.compute_time_ms} ms"


def _source(job: Job) -> str:
    source = job.source
    known = [
        source.format,
        f"{source.width}×{source.height}" if source.width else None,
        size(source.bytes) if source.bytes else None,
    ]
    return ", ".join(filter(None, known)) or "not known yet"


def _outputs(job: Job) -> Table:
    rows = table("Output", "Format", "Pixels", "Size", "Change", right=("Pixels", "Size", "Change"))
    for output in job.outputs:
        rows.add_row(
            cell(output.step_id),
            cell(output.format),
            cell(f"{output.width}×{output.height}"),
            cell(size(output.bytes)),
            cell(change(job.source.bytes, output.bytes)),
        )
    return rows


def _when(moment: datetime) -> str:
    return moment.astimezone().isoformat(sep=" ", timespec="milliseconds")
