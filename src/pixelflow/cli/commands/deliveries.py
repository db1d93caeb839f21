"""``pixelflow deliveries``: lists and replays webhook deliveries."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from pixelflow.cli.credentials import find_session
from pixelflow.cli.delivery_rows import print_deliveries
from pixelflow.cli.errors import exit_on_error
from pixelflow.cli.output import echo, print_json
from pixelflow.client import Client, InvalidRequestError

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]

app = typer.Typer(help="List and replay webhook deliveries.", no_args_is_help=True, add_completion=False)


@app.command("list")
def list_(
    *,
    job_id: Annotated[
        UUID | None, typer.Argument(metavar="[JOB_ID]", help="Job ID, as printed by `submit` and `jobs list`.")
    ] = None,
    batch: Annotated[
        UUID | None, typer.Option(metavar="BATCH_ID", help="List those of a batch's own webhooks, in place of a job's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the delivery attempts of the webhooks of a job or a batch, newest first."""
    with exit_on_error(), Client(session=find_session()) as client:
        if job_id is not None and batch is None:
            found = client.list_deliveries(job_id)
        elif batch is not None and job_id is None:
            found = client.list_batch_deliveries(batch)
        else:
            raise InvalidRequestError("Name either a job or --batch BATCH_ID", ())
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
    subject = f"batch {replayed.batch_id}" if replayed.batch_id else f"job {replayed.job_id}"
    echo(f"Sending {replayed.type} of {subject} again, with the event ID {replayed.event_id}")
