"""``pixelflow deliveries``: what became of a job's webhooks, and send one again."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def list_(
    *,
    job_id: Annotated[UUID, typer.Argument(metavar="JOB_ID", help="As `submit` and `jobs list` tell it.")],
    as_json: AsJson = False,
) -> None:
    """List the tries at delivering a job's webhooks, newest first."""
    from pixelflow.cli import delivery_views  # noqa: PLC0415 - see the package's docstring

    delivery_views.list_deliveries(job_id, as_json=as_json)


def replay(
    *,
    delivery_id: Annotated[UUID, typer.Argument(metavar="DELIVERY_ID", help="As `deliveries list` tells it.")],
    as_json: AsJson = False,
) -> None:
    """Have a webhook sent again, at once and by the same webhook-id."""
    from pixelflow.cli import delivery_views  # noqa: PLC0415 - see the package's docstring

    delivery_views.replay(delivery_id, as_json=as_json)


def commands() -> typer.Typer:
    """``deliveries`` and what is below it."""
    group = typer.Typer(help="Look at deliveries of webhooks, and repeat them.", no_args_is_help=True)
    group.command("list")(list_)
    group.command("replay")(replay)
    return group
