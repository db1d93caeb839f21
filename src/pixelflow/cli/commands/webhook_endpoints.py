"""``pixelflow webhook endpoints``: URLs that get the events of all your jobs."""

from __future__ import annotations

import time
from typing import Annotated
from uuid import UUID

import typer

from pixelflow.cli.credentials import find_session
from pixelflow.cli.delivery_rows import print_deliveries
from pixelflow.cli.errors import exit_on_error
from pixelflow.cli.exit_codes import ExitCode
from pixelflow.cli.output import cell, echo, echo_error, format_time, print_json, print_table, table
from pixelflow.client import Client
from pixelflow.contracts.webhooks import Delivery, DeliveryOutcome, EventType

POLL_SECONDS = 0.5
TEST_SECONDS = 15.0
"""How long a test waits for its first attempt: one takes up to 10 s."""

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]
EndpointId = Annotated[
    UUID, typer.Argument(metavar="ENDPOINT_ID", help="Endpoint ID, as printed by `webhook endpoints list`.")
]
app = typer.Typer(help="Manage URLs that get the events of all your jobs.", no_args_is_help=True)


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List your webhook endpoints, oldest first."""
    with exit_on_error(), Client(session=find_session()) as client:
        found = client.list_webhook_endpoints()
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    rows = table("Endpoint", "URL", "Events", "Enabled", "Created", "Description")
    for each in found.data:
        events, enabled = ", ".join(each.event_types or ["all"]), "yes" if each.enabled else "no"
        created = format_time(each.created_at)
        rows.add_row(*map(cell, (each.endpoint_id, each.url, events, enabled, created, each.description)))
    print_table(rows)


@app.command()
def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="URL that receives the events.")],
    *,
    events: Annotated[
        list[EventType] | None, typer.Option("--event", help="Type of events. Repeat it for several. Default: all.")
    ] = None,
    description: Annotated[str, typer.Option(metavar="TEXT", help="Description for people.")] = "",
    as_json: AsJson = False,
) -> None:
    """Send the events of all your jobs to a URL, from now on."""
    with exit_on_error(), Client(session=find_session()) as client:
        added = client.create_webhook_endpoint(url, event_types=events or None, description=description)
    if as_json:
        print_json(added.model_dump(mode="json"))
        return
    echo(f"Added the endpoint {added.endpoint_id}.")


@app.command()
def update(
    *,
    endpoint_id: EndpointId,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="New URL. Events that exist already go to the earlier one.")
    ] = None,
    events: Annotated[
        list[EventType] | None,
        typer.Option("--event", help="Type of events, instead of those it gets now. Repeat it for several."),
    ] = None,
    all_events: Annotated[bool, typer.Option("--all-events", help="Send events of all types.")] = False,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="Description for people.")] = None,
    enabled: Annotated[bool | None, typer.Option("--enable/--disable", help="Send events to it, or nothing.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change an endpoint: what you name, and nothing else."""
    if events and all_events:
        raise typer.BadParameter("can't be combined with --event", param_hint="--all-events")
    event_types = "all" if all_events else events or None
    if all(value is None for value in (url, event_types, description, enabled)):
        raise typer.BadParameter("name what to change", param_hint="--url, --event, --description or --enable")
    with exit_on_error(), Client(session=find_session()) as client:
        changed = client.update_webhook_endpoint(
            endpoint_id, url=url, event_types=event_types, description=description, enabled=enabled
        )
    if as_json:
        print_json(changed.model_dump(mode="json"))
        return
    echo(f"Changed the endpoint {endpoint_id}.")


@app.command()
def deliveries(*, endpoint_id: EndpointId, as_json: AsJson = False) -> None:
    """List the attempts to deliver the newest events of an endpoint, newest first."""
    with exit_on_error(), Client(session=find_session()) as client:
        found = client.list_endpoint_deliveries(endpoint_id)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    print_deliveries(found.data)


@app.command()
def enable(endpoint_id: EndpointId) -> None:
    """Send events to an endpoint again."""
    _set_enabled(endpoint_id, enabled=True)


@app.command()
def disable(endpoint_id: EndpointId) -> None:
    """Send nothing to an endpoint until it is enabled again."""
    _set_enabled(endpoint_id, enabled=False)


@app.command()
def remove(endpoint_id: EndpointId) -> None:
    """Delete an endpoint. Events that are not delivered yet are not sent."""
    with exit_on_error(), Client(session=find_session()) as client:
        client.delete_webhook_endpoint(endpoint_id)
    echo(f"Removed the endpoint {endpoint_id}.")


@app.command("test")
def send_test(*, endpoint_id: EndpointId, as_json: AsJson = False) -> None:
    """Send an event of the type webhook.test, and show how the endpoint responds.

    Exits with 1 if the event is not delivered at the first attempt.
    """
    with exit_on_error(), Client(session=find_session()) as client:
        sent = client.test_webhook_endpoint(endpoint_id)
        delivery = _wait_for_attempt(client, endpoint_id, sent.event_id)
    if delivery is None:
        echo_error(f"The event {sent.event_id} was not attempted within {TEST_SECONDS:g} s; is a controller running?")
        raise typer.Exit(ExitCode.TIMED_OUT)
    if as_json:
        print_json(delivery.model_dump(mode="json"))
    else:
        response = f"status {delivery.status_code}" if delivery.error is None else delivery.error.message
        echo(f"{delivery.outcome} after {delivery.latency_ms} ms: {response}")
    if delivery.outcome != DeliveryOutcome.DELIVERED:
        raise typer.Exit(ExitCode.FAILED)


def _set_enabled(endpoint_id: UUID, *, enabled: bool) -> None:
    with exit_on_error(), Client(session=find_session()) as client:
        client.update_webhook_endpoint(endpoint_id, enabled=enabled)
    echo(f"{'Enabled' if enabled else 'Disabled'} the endpoint {endpoint_id}.")


def _wait_for_attempt(client: Client, endpoint_id: UUID, event_id: str) -> Delivery | None:
    deadline = time.monotonic() + TEST_SECONDS
    while True:
        listed = client.list_endpoint_deliveries(endpoint_id).data
        if found := next((each for each in listed if each.event_id == event_id), None):
            return found
        if time.monotonic() >= deadline:
            return None
        time.sleep(POLL_SECONDS)
