"""``pixelflow deliveries``: lists and replays webhook deliveries."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from pixelflow.cli.credentials import find_session
from pixelflow.cli.errors import exit_on_error
from pixelflow.cli.output import cell, echo, format_time, print_json, print_table, table
from pixelflow.client import Client
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
    job_id: Annotated[UUID, typer.Argument(metavar="JOB_ID", help="Job ID, as printed by `submit` and `jobs list`.")],
    as_json: AsJson = False,
) -> None:
    """List the delivery attempts of a job's webhooks, newest first."""
    with exit_on_error(), Client(session=find_session()) as client:
        found = client.list_deliveries(job_id)
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
    echo(f"Sending {replayed.type} of job {replayed.job_id} again, with the event ID {replayed.event_id}")


def _response(delivery: Delivery) -> str:
    return str(delivery.status_code) if delivery.error is None else delivery.error.message
