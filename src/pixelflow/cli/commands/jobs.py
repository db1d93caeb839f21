"""``pixelflow jobs``: lists, shows, downloads, watches, cancels, retries and erases jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.table import Table

from pixelflow.cli.commands import watch
from pixelflow.cli.commands.jobs_download import download
from pixelflow.cli.credentials import find_session
from pixelflow.cli.errors import (
    echo_client_error,
    error_json,
    exit_code_of,
    exit_on_error,
    is_fatal_for_batch,
)
from pixelflow.cli.exit_codes import worst
from pixelflow.cli.job_filters import (
    CreatedAfter,
    CreatedBefore,
    JobChoice,
    MetadataPairs,
    OfBatch,
    OfPreset,
    Status,
)
from pixelflow.cli.output import (
    cell,
    echo,
    format_change,
    format_pixels,
    format_size,
    format_time,
    print_json,
    print_table,
    table,
)
from pixelflow.client import Client, ClientError, JobFailedError, WaitTimeoutError
from pixelflow.contracts.jobs.responses import Job, JobAttempt
from pixelflow.contracts.jobs.states import JobStatus, Priority

PAGE_SIZE = 100
"""Jobs per request of ``jobs list``."""
WAIT_SECONDS = 600.0
_STYLES: dict[str, str] = {JobStatus.SUCCEEDED: "green", JobStatus.FAILED: "red", JobStatus.PROCESSING: "yellow"}

JobId = Annotated[UUID, typer.Argument(metavar="JOB_ID", help="Job ID, as printed by `submit` and `jobs list`.")]
JobIds = Annotated[
    list[UUID], typer.Argument(metavar="JOB_ID…", help="Job IDs, as printed by `submit` and `jobs list`.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]

app = typer.Typer(
    help="List, show, download, watch, cancel, retry and erase jobs.", no_args_is_help=True, add_completion=False
)
app.command("download")(download)


# ── list, show ───────────────────────────────────────────────────────────────────────────────────


@app.command("list")
def list_(
    *,
    status: Status = None,
    metadata: MetadataPairs = None,
    preset: OfPreset = None,
    batch: OfBatch = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Maximum number of jobs.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first: those that meet all conditions."""
    choice = JobChoice.of(
        status=status,
        metadata=metadata,
        preset=preset,
        batch=batch,
        created_after=created_after,
        created_before=created_before,
    )
    with exit_on_error(), Client(session=find_session()) as client:
        jobs = list(islice(client.iter_jobs(**choice.conditions, page_size=min(limit, PAGE_SIZE)), limit))
    if as_json:
        print_json({"data": [_job_json(job) for job in jobs]})
    else:
        print_table(_jobs_table(jobs))


@app.command("get", hidden=True)
@app.command()
def show(*, job_id: JobId, as_json: AsJson = False) -> None:
    """Show a job's status, outputs, error and attempts."""
    with exit_on_error(), Client(session=find_session()) as client:
        job = client.get_job(job_id)
    if as_json:
        print_json(_job_json(job))
        return
    print_table(_properties_table(job))
    if job.outputs:
        print_table(_outputs_table(job))
    if job.history:
        print_table(_history_table(job.history))


def _job_json(job: Job) -> dict[str, Any]:
    """Return the job as the API sent it, without the defaults of pipeline steps."""
    return job.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _jobs_table(jobs: Sequence[Job]) -> Table:
    rows = table("Job", "Status", "Created", "Source size", "Output size", right=("Source size", "Output size"))
    for job in jobs:
        rows.add_row(
            cell(job.job_id),
            cell(job.status, _STYLES.get(job.status, "")),
            cell(format_time(job.created_at)),
            cell(format_size(job.source.bytes) if job.source.bytes else ""),
            cell(format_size(sum(output.bytes for output in job.outputs)) if job.outputs else ""),
        )
    return rows


def _properties_table(job: Job) -> Table:
    rows = Table.grid(padding=(0, 2))
    for name, value in _properties(job):
        rows.add_row(cell(name, "bold"), cell(value))
    return rows


def _properties(job: Job) -> Iterator[tuple[str, object]]:
    yield "Job", job.job_id
    yield "Status", job.status
    if job.waiting_for:
        yield "Waiting for", f"a worker with {', '.join(job.waiting_for)}"
    if job.priority is not Priority.NORMAL:
        yield "Priority", job.priority
    if job.error:
        step = f", step {job.error.step_id}" if job.error.step_id else ""
        yield "Error", f"{job.error.message} ({job.error.code}{step})"
    yield "Source", _source(job)
    yield "Attempts", f"{job.attempts} of {job.max_attempts}"
    times = {
        "Created": job.created_at,
        "Queued": job.queued_at,
        "Started": job.started_at,
        "Finished": job.finished_at,
        "Expires": job.expires_at,
    }
    yield from ((name, format_time(time)) for name, time in times.items() if time)
    yield from ((f"Metadata {name}", value) for name, value in job.metadata.items())
    for warning in job.warnings:
        yield "Warning", f"{warning.message} ({warning.code})"
    if job.usage:
        yield "Compute time", f"{job.usage.compute_time_ms} ms"


def _source(job: Job) -> str:
    source = job.source
    known = [
        source.format,
        format_pixels(source.width, source.height),
        format_size(source.bytes) if source.bytes else None,
    ]
    return ", ".join(filter(None, known)) or "unknown"


def _outputs_table(job: Job) -> Table:
    rows = table("Output", "Format", "Pixels", "Size", "Change", right=("Pixels", "Size", "Change"))
    for output in job.outputs:
        rows.add_row(
            cell(output.step_id),
            cell(output.format),
            cell(format_pixels(output.width, output.height)),
            cell(format_size(output.bytes)),
            cell(format_change(job.source.bytes, output.bytes)),
        )
    return rows


def _history_table(history: Sequence[JobAttempt]) -> Table:
    rows = table("Attempt", "Started", "Ended", "Outcome", "Worker", "Error", right=("Attempt",))
    for each in history:
        rows.add_row(
            cell(each.attempt),
            cell(format_time(each.started_at)),
            cell(format_time(each.ended_at) if each.ended_at else ""),
            cell(each.outcome or "running"),
            cell(each.worker or ""),
            cell(f"{each.error.message} ({each.error.code})" if each.error else ""),
        )
    return rows


app.command("watch")(watch.watch)


# ── cancel, retry, erase ─────────────────────────────────────────────────────────────────────────

Action = Callable[[Client, UUID], str]
"""Acts on one job and returns the job's new status."""


@dataclass
class _Result:
    job_id: UUID
    status: str | None = None
    error: ClientError | None = None

    @property
    def skipped(self) -> bool:
        """Whether the job was not tried because an earlier error is fatal for the batch."""
        return self.status is None and self.error is None


@app.command()
def cancel(*, job_ids: JobIds, as_json: AsJson = False) -> None:
    """Cancel jobs that are not finished."""
    _run(job_ids, lambda client, job_id: str(client.cancel_job(job_id).status), as_json=as_json)


@app.command()
def retry(
    *,
    job_ids: JobIds,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until all jobs are finished.")] = False,
    timeout: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Maximum time to wait for each job.")
    ] = WAIT_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Run failed or canceled jobs again, with a new set of attempts."""

    def start(client: Client, job_id: UUID) -> str:
        return str(client.retry_job(job_id).status)

    def wait_for(client: Client, job_id: UUID) -> str:
        return str(client.wait(job_id, timeout=timeout).status)

    # All jobs are started before the first is waited for.
    _run(job_ids, start, *([wait_for] if wait else []), as_json=as_json)


@app.command()
def erase(
    *,
    job_ids: JobIds,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Skip the confirmation.")] = False,
    as_json: AsJson = False,
) -> None:
    """Permanently erase jobs with their sources and outputs. Billed usage is kept."""
    if not yes:
        count = len(job_ids)
        jobs = "one job with its source" if count == 1 else f"{count} jobs with their sources"
        typer.confirm(f"Erase {jobs} and outputs? This can't be undone.", abort=True, err=True)

    def erase_one(client: Client, job_id: UUID) -> str:
        client.erase_job(job_id)
        return "erased"

    _run(job_ids, erase_one, as_json=as_json)


def _run(job_ids: Sequence[UUID], *actions: Action, as_json: bool) -> None:
    """Apply each action to every job, print the results and exit. One job's error does not stop the others."""
    results = [_Result(job_id) for job_id in dict.fromkeys(job_ids)]
    with exit_on_error(), Client(session=find_session()) as client:
        for action in actions:
            _apply(action, client, results)
    _print_results(results, as_json=as_json)
    raise typer.Exit(worst(exit_code_of(result.error) for result in results if result.error is not None))


def _apply(action: Action, client: Client, results: Sequence[_Result]) -> None:
    for result in results:
        if result.error is not None:
            continue
        try:
            result.status = action(client, result.job_id)
        except ClientError as error:
            result.error = error
            if isinstance(error, (JobFailedError, WaitTimeoutError)):
                result.status = str(error.job.status)
            if is_fatal_for_batch(error):
                return


def _print_results(results: Sequence[_Result], *, as_json: bool) -> None:
    if as_json:
        print_json({"jobs": [_result_json(result) for result in results]})
    elif known := [result for result in results if result.status is not None]:
        rows = table("Job", "Status")
        for result in known:
            rows.add_row(cell(result.job_id), cell(result.status))
        print_table(rows)
    for result in results:
        if result.error is not None:
            echo_client_error(result.error, result.job_id)
    if skipped := sum(result.skipped for result in results):
        echo(f"{skipped} more not tried")


def _result_json(result: _Result) -> dict[str, object]:
    return {
        "job_id": str(result.job_id),
        "status": result.status,
        "error": error_json(result.error) if result.error else None,
    }
