"""Deliveries as ``pixelflow deliveries`` shows them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pixelflow.cli.credentials import find_session
from pixelflow.cli.failures import reported
from pixelflow.cli.output import cell, say, show, show_json, table
from pixelflow.client import Client
from pixelflow.contracts.webhooks import Delivery, DeliveryOutcome

_STYLES = {
    DeliveryOutcome.DELIVERED: "green",
    DeliveryOutcome.RETRIED: "yellow",
    DeliveryOutcome.EXHAUSTED: "red",
    DeliveryOutcome.REFUSED: "red",
}


def list_deliveries(job_id: UUID, *, as_json: bool) -> None:
    """Show what became of each try."""
    with reported(), Client(session=find_session()) as client:
        found = client.list_deliveries(job_id)
    if as_json:
        show_json(found.model_dump(mode="json"))
        return
    rows = table("Delivery", "Event", "Try", "Outcome", "Answer", "ms", "Started", "Next", right=("Try", "ms"))
    for delivery in found.data:
        rows.add_row(
            cell(delivery.delivery_id),
            cell(delivery.type),
            cell(delivery.attempt),
            cell(delivery.outcome, _STYLES[delivery.outcome]),
            cell(_answer(delivery)),
            cell(delivery.latency_ms),
            cell(_when(delivery.started_at)),
            cell(_when(delivery.next_attempt_at) if delivery.next_attempt_at else ""),
        )
    show(rows)


def replay(delivery_id: UUID, *, as_json: bool) -> None:
    """Have it sent again, and say so."""
    with reported(), Client(session=find_session()) as client:
        replayed = client.replay_delivery(delivery_id)
    if as_json:
        show_json(replayed.model_dump(mode="json"))
        return
    say(f"{replayed.type} of job {replayed.job_id} is sent again, as {replayed.event_id}")


def _answer(delivery: Delivery) -> str:
    return str(delivery.status_code) if delivery.error is None else delivery.error.message


def _when(moment: datetime) -> str:
    return moment.astimezone().isoformat(sep=" ", timespec="seconds")
