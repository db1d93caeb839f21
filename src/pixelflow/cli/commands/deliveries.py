"""``pixelflow deliveries``: lists and replays webhook deliveries."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from pixelflow.cli.credentials import find_session
from pixelflow.cli.delivery_rows import print_deliveries
from pixelflow.cli.errors import exit_on_error
from pixelflow.cli.output import echo, print_json
from pixelflow.client import Client

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]

app = typer.Typer(help="List and replay webhook deliveries.", no_args_is_help=True, add_completion=False)


@app.command("list")
def list_(
    *,
    job_id: Annotated[UUID, typer.Argument(metavar="JOB_ID", help="Job ID, as printed by `submit` and `jobs list`.")],
    as_json: AsJson = False,
) -> None:
    """List the delivery attempts of a job's webhooks, newest first."""
    with exit_on_error(), Client(session=find_session()) as client:
        found = client.list_deliveries(job_id)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    print_deliveries(found.data)


@app.command()
def replay(
    *,
    delivery_id: Annotated[
        UUID, typer.Argument(metavar="DELIVERY_ID", help="Delivery ID, as printed by `deliveries list`.")
    ],
    as_json: AsJson = False,
) -> None:
    """Send a webhook again, immediately and with the same webhook-id."""
    with exit_on_error(), Client(session=find_session()) as client:
        replayed = client.replay_delivery(delivery_id)
    if as_json:
        print_json(replayed.model_dump(mode="json"))
        return
    echo(f"Sending {replayed.type} of job {replayed.job_id} again, with the event ID {replayed.event_id}")
