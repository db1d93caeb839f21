"""``pixelflow users``: the shares of users in the queue, directly in the database."""

from __future__ import annotations

from typing import Annotated

import typer

from pixelflow.cli.output import cell, echo, print_json, print_table, table
from pixelflow.cli.server_settings import load_database_url
from pixelflow.controlplane.queue import admin

app = typer.Typer(help="Show and set the shares of users in the queue.", no_args_is_help=True, add_completion=False)


@app.command("set")
def set_(
    user: Annotated[str, typer.Argument(metavar="USER", help="User ID.")],
    *,
    weight: Annotated[
        float,
        typer.Option(min=0.01, max=100, metavar="WEIGHT", help="Share of processor time, relative to that of others."),
    ] = 1.0,
    max_active: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="JOBS",
            help="Maximum jobs that are processed at once. Default: PIXELFLOW_QUEUE_MAX_ACTIVE_PER_USER, from the "
            "user's next start on.",
        ),
    ] = None,
) -> None:
    """Set a user's share. Options that you omit are reset to their defaults.

    Uses the database of PIXELFLOW_DATABASE_URL or, if that is not set, of the `pixelflow up` running on this machine.
    """
    with load_database_url() as url:
        admin.set_share(url, user_id=user, weight=weight, max_active=max_active)
    echo(f"Set the share of {user}.")


@app.command("list")
def list_(
    *, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")] = False
) -> None:
    """List the users with a share of their own or with jobs in the queue."""
    with load_database_url() as url:
        shares = admin.list_shares(url)
    if as_json:
        print_json([vars(share) for share in shares])
        return
    rows = table(
        "User", "Weight", "Max. active", "Waiting", "Active", right=("Weight", "Max. active", "Waiting", "Active")
    )
    for share in shares:
        max_active = "" if share.max_active is None else share.max_active
        rows.add_row(*map(cell, (share.user_id, f"{share.weight:g}", max_active, share.waiting, share.active)))
    print_table(rows)
