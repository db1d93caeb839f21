"""``pixelflow batches``: jobs that are created together, from sources that are there already."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from pixelflow.cli.chosen_preset import find_preset, parse_pairs
from pixelflow.cli.credentials import find_session
from pixelflow.cli.destination import DestinationFile, read_destination
from pixelflow.cli.errors import exit_on_error
from pixelflow.cli.exit_codes import ExitCode
from pixelflow.cli.job_sources import parse_sources, parse_urls
from pixelflow.cli.output import cell, echo, format_time, print_json, print_table, printable, table
from pixelflow.cli.pipelines import steps_from_file
from pixelflow.client import ApiError, Client, InvalidRequestError
from pixelflow.client.batches import BatchEntry
from pixelflow.contracts.batches import Batch, BatchCounts, BatchSummary, RefusedSource
from pixelflow.contracts.jobs.states import Priority

_SHOWN_REFUSALS = 20
_PAGE = 100

BatchId = Annotated[UUID, typer.Argument(metavar="BATCH_ID", help="Batch ID, as printed by `batches create`.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]

app = typer.Typer(
    help="Create, list, show, watch, close, cancel and delete batches of jobs.",
    no_args_is_help=True,
    add_completion=False,
)


@app.command()
def create(
    *,
    jobs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[JOB_ID[:STEP]…]", help="Jobs whose source, or output of a step, is processed again."),
    ] = None,
    url: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="URL of a source that a worker fetches, or s3://BUCKET/KEY. Can be repeated."),
    ] = None,
    urls_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False, help="File with a URL per line, such as URLs with tokens."
        ),
    ] = None,
    preset: Annotated[str | None, typer.Option(metavar="NAME[@VERSION]", help="Preset to use.")] = None,
    param: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Parameter of the preset. Can be repeated.")
    ] = None,
    pipeline: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="JSON file with pipeline steps."),
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name for people.")] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Metadata of each job. Can be repeated.")
    ] = None,
    priority: Annotated[Priority, typer.Option(help="Order among your own queued jobs.")] = Priority.NORMAL,
    webhook_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="URL that receives a webhook when a job finishes, and when the batch does."),
    ] = None,
    destination: DestinationFile = None,
    keep_open: Annotated[
        bool, typer.Option("--keep-open", help="Let the batch take more jobs, until `batches close`.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create a batch with a job for each source, start the jobs and close the batch."""
    of_jobs, pairs = parse_sources(jobs or [], "JOB_ID"), parse_pairs(metadata or [], "--metadata", "sku=A-17")
    with exit_on_error(), Client(session=find_session()) as client:
        sources: list[BatchEntry] = [*of_jobs, *parse_urls(url or [], urls_file)]
        if not sources:
            raise InvalidRequestError("Name at least one source: JOB_ID, --url or --urls-file", ())
        if (preset is None) == (pipeline is None):
            raise InvalidRequestError("Set either --preset or --pipeline", ())
        chosen = find_preset(preset, param or []) if preset else None
        batch = client.create_batch(
            steps_from_file(pipeline) if pipeline else None,
            preset=chosen.reference if chosen else None,
            parameters=chosen.parameters if chosen else None,
            sources=sources,
            name=name,
            metadata=pairs,
            priority=priority,
            webhook_url=webhook_url,
            destination=read_destination(destination),
            close=not keep_open,
        )
    _print_batch(batch, as_json=as_json)
    print_refused(batch.refused)
    raise typer.Exit(ExitCode.FAILED if batch.refused else ExitCode.SUCCESS)


@app.command("list")
def list_(
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Maximum number of batches.")] = 20,
    counts: Annotated[
        bool, typer.Option("--counts", help="Show the number of jobs by status, too. Sends a request for each batch.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List batches, newest first."""
    with exit_on_error(), Client(session=find_session()) as client:
        found = islice(client.iter_batches(page_size=min(limit, _PAGE)), limit)
        shown: Sequence[BatchSummary] = list(_with_counts(client, found) if counts else found)
    if as_json:
        print_json({"data": [batch.model_dump(mode="json") for batch in shown]})
        return
    columns = ("Jobs", *map(str.capitalize, BatchCounts.model_fields)) if counts else ()
    dates = ("Created at", "Canceled at", "Finished at")
    rows = table("Batch", "Name", "Preset", *columns, *dates, right=columns)
    for batch in shown:
        of_jobs = (batch.total, *_counts(batch)) if isinstance(batch, Batch) else ()
        ends = (format_time(at) if at else "" for at in (batch.canceled_at, batch.finished_at))
        values = (batch.batch_id, batch.name or "", batch.preset or "", *of_jobs, format_time(batch.created_at), *ends)
        rows.add_row(*map(cell, values))
    print_table(rows)


@app.command()
def show(*, batch_id: BatchId, as_json: AsJson = False) -> None:
    """Show a batch and its progress. `jobs list --batch` lists its jobs."""
    with exit_on_error(), Client(session=find_session()) as client:
        batch = client.get_batch(batch_id)
    _print_batch(batch, as_json=as_json)


@app.command()
def watch(
    *,
    batch_id: BatchId,
    timeout: Annotated[float | None, typer.Option(min=0, metavar="SECONDS", help="Maximum time to wait.")] = None,
    as_json: AsJson = False,
) -> None:
    """Wait until all jobs of a batch are finished, and report its progress."""
    with exit_on_error(), Client(session=find_session()) as client:
        batch = client.wait_for_batch(batch_id, timeout=timeout, on_change=_report)
    _print_batch(batch, as_json=as_json)
    if batch.percent < 100:  # noqa: PLR2004 - percent
        raise typer.Exit(ExitCode.TIMED_OUT)
    raise typer.Exit(ExitCode.FAILED if batch.jobs.failed + batch.jobs.canceled else ExitCode.SUCCESS)


@app.command()
def close(*, batch_id: BatchId, as_json: AsJson = False) -> None:
    """Let a batch take no more jobs. Its webhook follows when all of its jobs have ended."""
    with exit_on_error(), Client(session=find_session()) as client:
        batch = client.close_batch(batch_id)
    _print_batch(batch, as_json=as_json)


@app.command()
def cancel(*, batch_id: BatchId, as_json: AsJson = False) -> None:
    """Cancel all unfinished jobs of a batch. It takes no more jobs."""
    with exit_on_error(), Client(session=find_session()) as client:
        batch = client.cancel_batch(batch_id)
    _print_batch(batch, as_json=as_json)


@app.command()
def delete(*, batch_id: BatchId) -> None:
    """Delete a batch: its name, and what its jobs have in common. The jobs stay."""
    with exit_on_error(), Client(session=find_session()) as client:
        client.delete_batch(batch_id)
    echo(f"Deleted {batch_id}.")


def _with_counts(client: Client, found: Iterable[BatchSummary]) -> Iterator[Batch]:
    for each in found:
        try:
            yield client.get_batch(each.batch_id)
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:  # deleted since it was listed
                raise


def _counts(batch: Batch) -> Iterator[int]:
    """Jobs by status, in the order of the columns. A newer API counts more, which have no column."""
    return (getattr(batch.jobs, name) for name in BatchCounts.model_fields)


def _report(batch: Batch) -> None:
    echo(f"{batch.percent} % of {batch.total} jobs finished, {batch.jobs.failed} failed")


def _print_batch(batch: Batch, *, as_json: bool) -> None:
    if as_json:
        print_json(batch.model_dump(mode="json"))
        return
    rows = table("Batch", "Jobs", "Finished", *map(str.capitalize, BatchCounts.model_fields))
    rows.add_row(*map(cell, (batch.batch_id, batch.total, f"{batch.percent} %", *_counts(batch))))
    print_table(rows)


def print_refused(refused: Sequence[RefusedSource]) -> None:
    """Print on stderr which sources were refused, and why."""
    for row in refused[:_SHOWN_REFUSALS]:
        which = f"job {row.job_id}" if row.job_id else f"source {(row.index or 0) + 1}"
        echo(f"Refused {which}: {printable(row.detail)} ({printable(row.code)})")
    if len(refused) > _SHOWN_REFUSALS:
        echo(f"and {len(refused) - _SHOWN_REFUSALS} more")
