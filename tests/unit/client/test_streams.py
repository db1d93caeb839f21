"""Event streams: the position after which another stream continues."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import httpx
import pytest
from tests.unit.client.conftest import Call
from tests.unit.client.stand_in import KEY, Fault, StandIn

from pixelflow.client import AsyncClient, Client, ConnectionFailedError
from pixelflow.client.session import Session
from pixelflow.client.streams import MEDIA_TYPE, EventReader, StreamedEvent

QUEUED = {"type": "status", "job_id": str(uuid4()), "status": "queued", "attempts": 0}
DONE = QUEUED | {"status": "succeeded"}


def stream(text: str) -> Fault:
    return Fault(200, {"Content-Type": MEDIA_TYPE}, text.encode())


@dataclass(frozen=True)
class Open:
    """A server whose stream stays open."""

    url: str
    closed: asyncio.Event
    """Set when the client has closed the connection."""


@asynccontextmanager
async def staying_open(text: str) -> AsyncIterator[Open]:
    closed = asyncio.Event()

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: {MEDIA_TYPE}\r\n\r\n{text}".encode())
        await reader.read()
        closed.set()
        writer.close()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield Open(f"http://127.0.0.1:{port}", closed)


def events_of(reader: EventReader, text: str) -> list[StreamedEvent]:
    return [event for event in reader.feed(text.encode()) if event]


def test_an_event_has_the_id_after_which_another_stream_continues() -> None:
    session = Session("http://127.0.0.1:9", KEY)
    [event] = events_of(EventReader(session, None), f"id: 7\ndata: {json.dumps(QUEUED)}\n\n")
    assert (event.id, str(event.status)) == ("7", "queued")
    assert EventReader(session, None, event.id).request().headers["Last-Event-ID"] == "7"
    [event] = events_of(EventReader(session, None), f"data: {json.dumps(QUEUED)}\n\n")
    assert event.id is None


@pytest.mark.parametrize("data", [QUEUED | {"id": 5}, [QUEUED], 5, None], ids=["id", "list", "number", "null"])
def test_the_id_of_an_event_is_that_of_the_stream_whatever_its_data(data: object) -> None:
    reader = EventReader(Session("http://127.0.0.1:9", KEY), None)
    ids = [event.id for event in events_of(reader, f"id: 7\ndata: {json.dumps(data)}\n\n")]
    assert ids == (["7"] if isinstance(data, dict) else [])


def test_heartbeats_report_the_position_of_a_stream_without_events(call: Call, api: StandIn) -> None:
    api.fail("get", stream(": heartbeat\nid: 900\n\n: heartbeat\n\n"), stream(f"id: 901\ndata: {json.dumps(DONE)}\n\n"))
    positions: list[str] = []
    events = call("events", uuid4(), last_event_id="899", on_position=positions.append)
    assert ([event.id for event in events], positions) == (["901"], ["900", "901"])
    assert [seen.headers["last-event-id"] for seen in api.seen] == ["899", "900"]


def test_the_position_follows_an_event_only_when_the_next_one_is_asked_for(api: StandIn) -> None:
    text = f"id: 7\ndata: {json.dumps(QUEUED)}\n\n" * 2 + f"id: 8\ndata: later\n\ndata: {json.dumps(DONE)}\n\n"
    api.fail("get", stream(text))
    positions: list[str] = []
    with Client(api.url, KEY) as client:
        events = client.events(uuid4(), on_position=positions.append)
        next(events)
        assert positions == []
        next(events)
        assert positions == ["7"]
        next(events)
        assert positions == ["7", "8"]


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("away"), ConnectionFailedError("away", sent=False), OSError("full")]
)
def test_what_the_callers_function_raises_is_no_broken_connection(call: Call, api: StandIn, error: Exception) -> None:
    api.fail("get", stream(f"id: 900\n\ndata: {json.dumps(DONE)}\n\n"))

    def store(_: str) -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        call("events", uuid4(), on_position=store)
    assert raised.value is error
    assert len(api.seen) == 1


async def test_the_connection_is_closed_when_the_callers_function_raises() -> None:
    def store(_: str) -> None:
        raise OSError("full")

    async with staying_open("id: 900\n\n") as server, AsyncClient(server.url, KEY) as client:
        events = client.events(uuid4(), on_position=store)
        with pytest.raises(OSError, match="full") as raised:
            await anext(events)
        async with asyncio.timeout(20):
            await server.closed.wait()
        assert raised.tb, "which keeps the generator, so that it was not closed for want of references"


async def test_a_stream_ends_with_the_job_although_its_connection_stays_open() -> None:
    text = f"id: 901\ndata: {json.dumps(DONE)}\n\n"
    async with staying_open(text) as server, AsyncClient(server.url, KEY) as client, asyncio.timeout(20):
        assert [event.id async for event in client.events(uuid4())] == ["901"]
        await server.closed.wait()
    async with staying_open(text) as server, asyncio.timeout(20):
        with Client(server.url, KEY) as client:
            events = await asyncio.to_thread(list, client.events(uuid4()))
        assert [event.id for event in events] == ["901"]
