"""``pixelflow jobs``: what became of jobs."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

import typer

StatusName = Literal["created", "queued", "processing", "succeeded", "failed", "canceled"]
"""Spelt out, for this module is imported with every command and the contract is not."""
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


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


def commands() -> typer.Typer:
    """``jobs`` and what is below it."""
    group = typer.Typer(help="Look at jobs.", no_args_is_help=True)
    group.command("list")(list_)
    group.command("show")(show)
    return group
