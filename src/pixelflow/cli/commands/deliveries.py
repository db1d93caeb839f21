"""``pixelflow deliveries``: lists and replays webhook deliveries."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from pixelflow.cli.credentials import find_session
from pixelflow.cli.errors import exit_on_error
from pixelflow.cli.output import cell, echo, format_time, print_json, print_table, table
from pixelflow.client import Client, InvalidRequestError
from pixelflow.contracts.webhooks import Delivery, DeliveryOutcome

_STYLES: dict[str, str] = {
    DeliveryOutcome.DELIVERED: "green",
    DeliveryOutcome.RETRIED: "yellow",
    DeliveryOutcome.EXHAUSTED: "red",
    DeliveryOutcome.REFUSED: "red",
}

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
    rows = table(
        "Delivery", "Event", "Attempt", "Outcome", "Response", "ms", "Started", "Next", right=("Attempt", "ms")
    )
    for delivery in found.data:
        rows.add_row(
            cell(delivery.delivery_id),
            cell(delivery.type),
            cell(delivery.attempt),
            cell(delivery.outcome, _STYLES.get(delivery.outcome, "")),
            cell(_response(delivery)),
            cell(delivery.latency_ms),
            cell(format_time(delivery.started_at)),
            cell(format_time(delivery.next_attempt_at) if delivery.next_attempt_at else ""),
        )
    print_table(rows)


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


def _response(delivery: Delivery) -> str:
    return str(delivery.status_code) if delivery.error is None else delivery.error.message
