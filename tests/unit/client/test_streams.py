"""Event streams: the position after which another stream continues."""

from __future__ import annotations

import json
from uuid import uuid4

import httpx
import pytest
from tests.unit.client.conftest import Call
from tests.unit.client.stand_in import KEY, Fault, StandIn

from pixelflow.client.session import Session
from pixelflow.client.streams import MEDIA_TYPE, EventReader

QUEUED = {"type": "status", "job_id": str(uuid4()), "status": "queued", "attempts": 0}
DONE = QUEUED | {"status": "succeeded"}


def stream(text: str) -> Fault:
    return Fault(200, {"Content-Type": MEDIA_TYPE}, text.encode())


def test_an_event_has_the_id_after_which_another_stream_continues() -> None:
    session = Session("http://127.0.0.1:9", KEY)
    [event] = EventReader(session, None).feed(f"id: 7\ndata: {json.dumps(QUEUED)}\n\n".encode())
    assert (event.id, str(event.status)) == ("7", "queued")
    assert EventReader(session, None, event.id).request().headers["Last-Event-ID"] == "7"
    [event] = EventReader(session, None).feed(f"data: {json.dumps(QUEUED)}\n\n".encode())
    assert event.id is None


@pytest.mark.parametrize("data", [QUEUED | {"id": 5}, [QUEUED], 5, None], ids=["id", "list", "number", "null"])
def test_the_id_of_an_event_is_that_of_the_stream_whatever_its_data(data: object) -> None:
    reader = EventReader(Session("http://127.0.0.1:9", KEY), None)
    ids = [event.id for event in reader.feed(f"id: 7\ndata: {json.dumps(data)}\n\n".encode())]
    assert ids == (["7"] if isinstance(data, dict) else [])


def test_heartbeats_report_the_position_of_a_stream_without_events(call: Call, api: StandIn) -> None:
    api.fail("get", stream(": heartbeat\nid: 900\n\n: heartbeat\n\n"), stream(f"id: 901\ndata: {json.dumps(DONE)}\n\n"))
    positions: list[str] = []
    events = call("events", uuid4(), last_event_id="899", on_position=positions.append)
    assert ([event.id for event in events], positions) == (["901"], ["900", "901"])
    assert [seen.headers["last-event-id"] for seen in api.seen] == ["899", "900"]


def test_the_position_follows_an_event_only_when_the_next_one_is_asked_for() -> None:
    positions: list[str] = []
    reader = EventReader(Session("http://127.0.0.1:9", KEY), None, on_position=positions.append)
    text = f"id: 7\ndata: {json.dumps(QUEUED)}\n\n" * 2 + "id: 8\ndata: of a later version\n\n"
    events = reader.feed(text.encode())
    next(events)
    assert positions == []
    next(events)
    assert positions == ["7"]
    assert (list(events), positions) == ([], ["7", "8"])


def test_a_position_that_could_not_be_stored_is_reported_again(call: Call, api: StandIn) -> None:
    api.fail("get", stream("id: 900\n\n"), stream(f": heartbeat\n\ndata: {json.dumps(DONE)}\n\n"))
    positions: list[str] = []

    def store(position: str) -> None:
        positions.append(position)
        if len(positions) == 1:
            raise httpx.ConnectError("the store is away")

    call("events", uuid4(), on_position=store)
    assert positions == ["900", "900"]
