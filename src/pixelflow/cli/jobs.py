"""``pixelflow jobs``: look at jobs, cancel them, try them again, erase them."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

import typer

StatusName = Literal["created", "queued", "processing", "succeeded", "failed", "canceled"]
"""Spelt out, for this module is imported with every command and the contract is not."""
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
JobIds = Annotated[list[UUID], typer.Argument(metavar="JOB_ID…", help="As `submit` and `jobs list` tell them.")]
WAIT_SECONDS = 600.0


def list_(
    *,
    status: Annotated[StatusName | None, typer.Option(help="Only these.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Jobs at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    from pixelflow.cli import job_views  # noqa: PLC0415 - see the package's docstring

    job_views.list_jobs(status, limit, as_json=as_json)


def show(
    *,
    job_id: Annotated[UUID, typer.Argument(metavar="JOB_ID", help="As `submit` and `jobs list` tell it.")],
    as_json: AsJson = False,
) -> None:
    """Show one job: how it stands, its outputs, or why it failed."""
    from pixelflow.cli import job_views  # noqa: PLC0415 - see the package's docstring

    job_views.show_job(job_id, as_json=as_json)


def cancel(*, job_ids: JobIds, as_json: AsJson = False) -> None:
    """Cancel jobs, also while they are being transformed."""
    from pixelflow.cli import job_actions  # noqa: PLC0415 - see the package's docstring

    raise typer.Exit(job_actions.cancel(job_ids, as_json=as_json))


def retry(
    *,
    job_ids: JobIds,
    wait: Annotated[bool, typer.Option("--wait", help="Until all of them are over.")] = False,
    timeout: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long to wait for each job.")
    ] = WAIT_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Run failed or canceled jobs again, with as many attempts as new ones have."""
    from pixelflow.cli import job_actions  # noqa: PLC0415 - see the package's docstring

    raise typer.Exit(job_actions.retry(job_ids, wait=timeout if wait else None, as_json=as_json))


def erase(
    *,
    job_ids: JobIds,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase jobs with their sources and outputs, for good. What they were billed by stays."""
    from pixelflow.cli import job_actions  # noqa: PLC0415 - see the package's docstring

    if not yes:
        count = len(job_ids)
        jobs = "one job, its source" if count == 1 else f"{count} jobs, their sources"
        typer.confirm(f"Erase {jobs} and outputs, for good?", abort=True, err=True)
    raise typer.Exit(job_actions.erase(job_ids, as_json=as_json))


def commands() -> typer.Typer:
    """``jobs`` and what is below it."""
    group = typer.Typer(help="Look at jobs, cancel, retry and erase them.", no_args_is_help=True)
    group.command("list")(list_)
    for command in (show, cancel, retry, erase):
        group.command()(command)
    return group
