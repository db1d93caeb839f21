"""The table of attempts to deliver webhooks."""

from __future__ import annotations

from collections.abc import Iterable

from pixelflow.cli.output import cell, format_time, print_table, table
from pixelflow.contracts.webhooks import Delivery, DeliveryOutcome

_STYLES: dict[str, str] = {
    DeliveryOutcome.DELIVERED: "green",
    DeliveryOutcome.RETRIED: "yellow",
    DeliveryOutcome.EXHAUSTED: "red",
    DeliveryOutcome.REFUSED: "red",
}


def print_deliveries(deliveries: Iterable[Delivery]) -> None:
    """Print a row for each attempt to stdout."""
    rows = table(
        "Delivery", "Event", "Attempt", "Outcome", "Response", "ms", "Started", "Next", right=("Attempt", "ms")
    )
    for delivery in deliveries:
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


def _response(delivery: Delivery) -> str:
    return str(delivery.status_code) if delivery.error is None else delivery.error.message
