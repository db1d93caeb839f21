"""Long polls and event streams over real servers: prompt, complete, bounded, private."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from uuid import uuid4

import httpx
import psycopg
import pytest
import redis
from tests.acceptance import job_steps as steps
from tests.acceptance.pictures import photo
from tests.acceptance.running import (
    STREAMS_PER_USER,
    client_of,
    database_url,
    paused,
    process_of,
    servers_alone,
    with_settings,
    worker_paused,
)
from tests.support.command_line import command_line
from tests.support.scraped import scrape
from tests.support.waiting import DEADLINE_SECONDS, assert_within, eventually, time_limit

from pixelflow.adapters.changes import CHANNEL, parse
from pixelflow.client import AsyncClient, Client
from pixelflow.controlplane.keys.admin import issue_key
from pixelflow.devstack.stack import Stack
from pixelflow.devstack.up import pixelflow_roles


@dataclass(frozen=True)
class Event:
    """One event of a stream; ``kind`` is empty for one that only has an ID."""

    event_id: str
    kind: str
    data: steps.Json


def events_of(response: httpx.Response) -> Iterator[Event]:
    """Parse a stream as a browser does."""
    event_id, kind, data = "", "", ""
    until = time.monotonic() + time_limit(DEADLINE_SECONDS)
    for line in response.iter_lines():
        assert time.monotonic() < until, "nothing but heartbeats"
        name, _, value = line.partition(": ")
        match name:
            case "id":
                event_id = value
            case "event":
                kind = value
            case "data":
                data += value
            case "" if not line:
                if data or event_id:
                    yield Event(event_id, kind, json.loads(data) if data else {})
                kind, data = "", ""
            case _:
                pass


@contextmanager
def stream(client: httpx.Client, path: str, last_event_id: str | None = None) -> Iterator[Iterator[Event]]:
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    with client.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield events_of(response)


@pytest.fixture
def owner(service: Stack) -> Iterator[httpx.Client]:
    """A client of a new user."""
    service.check()
    key = issue_key(database_url(service), user_id=f"user-{uuid4()}", name="test")
    with httpx.Client(base_url=service.api_url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
        yield client


def set_status(stack: Stack, job_id: str, status: str) -> None:
    """Change a job as a process would that announces nothing."""
    with psycopg.connect(database_url(stack), options="-c pixelflow.tenant_scope=everyone") as connection:
        connection.execute(
            """
            UPDATE jobs SET status = %(status)s, finished_at = CASE WHEN %(status)s <> 'queued' THEN now() END
            WHERE job_id = %(job_id)s
            """,
            {"status": status, "job_id": job_id},
        )


def await_streams(stack: Stack, count: int) -> None:
    """Wait until that many requests wait, by the metrics of the API."""
    eventually(lambda: scrape(stack, "api")("pixelflow_api_streams") == count)


# ── Long polls ───────────────────────────────────────────────────────────────────────────────────


def test_a_long_poll_returns_when_the_job_has_finished(owner: httpx.Client) -> None:
    created = steps.create(owner)
    steps.upload(created, photo())
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(owner.get, f"/v1/jobs/{created['job_id']}", params={"wait": 20})
        steps.start(owner, created)
        job = waiting.result().json()
    assert job["status"] == "succeeded"
    assert job["outputs"]


def test_a_long_poll_of_a_finished_job_returns_at_once(owner: httpx.Client) -> None:
    created = steps.started(owner, photo())
    owner.get(f"/v1/jobs/{created['job_id']}", params={"wait": 20})
    began = time.monotonic()
    assert owner.get(f"/v1/jobs/{created['job_id']}", params={"wait": 20}).json()["status"] == "succeeded"
    assert_within(0.5, began)


def test_a_long_poll_returns_the_unfinished_job_when_the_time_is_over(owner: httpx.Client) -> None:
    created = steps.create(owner)
    began = time.monotonic()
    answer = owner.get(f"/v1/jobs/{created['job_id']}", params={"wait": 0.5})
    assert answer.json()["status"] == "created"
    assert time.monotonic() - began >= 0.5
    assert_within(1.5, began)


def test_a_long_poll_returns_soon_if_the_change_was_not_announced(service: Stack, owner: httpx.Client) -> None:
    created = steps.create(owner)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(owner.get, f"/v1/jobs/{created['job_id']}", params={"wait": 20})
        await_streams(service, 1)
        began = time.monotonic()
        set_status(service, created["job_id"], "canceled")
        assert waiting.result().json()["status"] == "canceled"
    assert_within(2, began)


def test_a_long_poll_returns_soon_while_redis_hangs(service: Stack, owner: httpx.Client) -> None:
    created = steps.create(owner)
    with paused(process_of(service, "valkey").pid), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(owner.get, f"/v1/jobs/{created['job_id']}", params={"wait": 20})
        await_streams(service, 1)
        began = time.monotonic()
        assert owner.post(f"/v1/jobs/{created['job_id']}/cancel").status_code == 200
        assert waiting.result().json()["status"] == "canceled"
    assert_within(2, began)


def test_an_announced_change_is_seen_much_sooner_than_another(service: Stack, owner: httpx.Client) -> None:
    def seconds_until_seen(cancel: Callable[[str], object]) -> float:
        created = steps.create(owner)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(_timed, owner, f"/v1/jobs/{created['job_id']}?wait=20")
            await_streams(service, 1)
            canceled_at = time.monotonic()
            cancel(created["job_id"])
            seen_at = waiting.result()
        await_streams(service, 0)
        return seen_at - canceled_at

    announced = [
        seconds_until_seen(lambda job_id: owner.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()) for _ in range(5)
    ]
    silent = [seconds_until_seen(lambda job_id: set_status(service, job_id, "canceled")) for _ in range(3)]
    assert median(announced) < median(silent) / 2, (announced, silent)


def test_a_start_by_the_controller_is_announced(service: Stack) -> None:
    with (
        redis.Redis.from_url(service.environment["PIXELFLOW_REDIS_URL"]) as server,
        server.pubsub(ignore_subscribe_messages=True) as heard,
        worker_paused(service),  # it announces claims
        client_of(service) as client,
    ):
        heard.subscribe(CHANNEL)

        def is_announced() -> bool:
            message = heard.get_message(timeout=0.1)
            return message is not None and parse(message["data"]) == ["user"]

        created = steps.create(client, auto_start=True)
        eventually(is_announced)
        steps.upload(created, photo())
        eventually(is_announced)
        assert steps.show(client, created["job_id"])["status"] == "queued"


def _timed(client: httpx.Client, path: str) -> float:
    assert client.get(path).json()["status"] == "canceled"
    return time.monotonic()


def test_a_long_poll_of_another_users_job_is_not_found(service: Stack, owner: httpx.Client) -> None:
    with client_of(service) as other:
        job_id = steps.create(other)["job_id"]
    for path in (f"/v1/jobs/{job_id}?wait=5", f"/v1/jobs/{job_id}/events"):
        answer = owner.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("wait", ["-1", "31", "nan", "inf", "soon"])
def test_a_wait_that_is_not_valid_is_refused(owner: httpx.Client, wait: str) -> None:
    answer = owner.get(f"/v1/jobs/{uuid4()}", params={"wait": wait})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/query/wait")


def test_a_job_that_is_erased_ends_the_wait(service: Stack, owner: httpx.Client) -> None:
    job_id = steps.create(owner)["job_id"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(owner.get, f"/v1/jobs/{job_id}", params={"wait": 20})
        await_streams(service, 1)
        owner.delete(f"/v1/jobs/{job_id}")
        assert waiting.result().status_code == 404


# ── Streams ──────────────────────────────────────────────────────────────────────────────────────


def test_the_stream_of_a_job_ends_after_its_last_event(owner: httpx.Client) -> None:
    created = steps.create(owner)
    steps.upload(created, photo())
    with stream(owner, f"/v1/jobs/{created['job_id']}/events") as events:
        assert next(events).data["status"] == "created"
        steps.start(owner, created)
        rest = list(events)
    statuses = [event.data["status"] for event in rest if event.kind == "status"]
    assert statuses[-1] == "succeeded"
    assert {event.data["job_id"] for event in rest if event.data} == {created["job_id"]}
    again = owner.get(f"/v1/jobs/{created['job_id']}/events", headers={"Last-Event-ID": rest[-1].event_id})
    assert again.status_code == 204, "the client has seen the last event"
    with stream(owner, f"/v1/jobs/{created['job_id']}/events") as events:
        assert [event.data["status"] for event in events] == ["succeeded"]


def test_the_stream_of_all_jobs_begins_with_those_in_the_queue(service: Stack, owner: httpx.Client) -> None:
    queued = steps.create(owner)["job_id"]
    set_status(service, queued, "queued")  # no worker can claim it: it is not in the queue
    steps.create(owner)
    with stream(owner, "/v1/events") as events:
        first = next(events)
        assert (first.data["job_id"], first.data["status"]) == (queued, "queued")
        third = steps.create(owner)["job_id"]
        event = next(event for event in events if event.data)
        assert (event.data["job_id"], event.data["status"]) == (third, "created")


def test_a_stream_that_breaks_is_continued_without_a_gap(owner: httpx.Client) -> None:
    with stream(owner, "/v1/events") as events:
        event_id = next(events).event_id
    missed = {steps.create(owner)["job_id"] for _ in range(3)}
    with stream(owner, "/v1/events", event_id) as events:
        changed = (event.data["job_id"] for event in events if event.data)
        assert {next(changed) for _ in missed} == missed


def test_an_event_id_of_another_database_starts_the_stream_anew(service: Stack, owner: httpx.Client) -> None:
    queued = steps.create(owner)["job_id"]
    set_status(service, queued, "queued")
    with stream(owner, "/v1/events", "9" * 20) as events:
        assert next(events).data["job_id"] == queued


@pytest.mark.parametrize("event_id", ["x", "-1", "1" * 21])
def test_an_event_id_that_is_not_valid_is_refused(owner: httpx.Client, event_id: str) -> None:
    answer = owner.get("/v1/events", headers={"Last-Event-ID": event_id})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/header/Last-Event-ID")


def test_no_user_sees_events_of_another(service: Stack, owner: httpx.Client) -> None:
    with client_of(service) as other, stream(owner, "/v1/events") as events:
        next(events)
        theirs = steps.create(other)["job_id"]
        mine = steps.create(owner)["job_id"]
        seen = next(event for event in events if event.data).data["job_id"]
    assert seen == mine != theirs


def test_erasing_a_job_is_the_last_event_of_its_stream(owner: httpx.Client) -> None:
    job_id = steps.create(owner)["job_id"]
    with stream(owner, f"/v1/jobs/{job_id}/events") as events:
        next(events)
        owner.delete(f"/v1/jobs/{job_id}")
        last = list(events)[-1]
    assert (last.kind, last.data["error"]) == ("erased", None)


def test_a_long_stage_is_shown_with_its_percentage(service: Stack, owner: httpx.Client) -> None:
    """The worker records what it does with each renewal of its lease; here, the test does."""
    job_id = steps.create(owner)["job_id"]
    with stream(owner, f"/v1/jobs/{job_id}/events") as events:
        next(events)
        with psycopg.connect(database_url(service), options="-c pixelflow.tenant_scope=everyone") as connection:
            connection.execute(_IN_PROGRESS, (job_id,))
            connection.execute("UPDATE jobs SET status = 'processing', attempts = 1 WHERE job_id = %s", (job_id,))
        progress = next(event for event in events if event.data["stage"])
    assert (progress.data["stage"], progress.data["percent"], progress.data["attempts"]) == ("fetching", 40, 1)


_IN_PROGRESS = """
    INSERT INTO job_queue (job_id, user_id, requirement_id, state, priority, due_at, lease_token, lease_until,
                           progress_token, stage, percent)
    SELECT job_id, user_id, 1, 'active', 1, now(), lease_token, now() + interval '1 hour', lease_token, 'fetch', 40
    FROM jobs WHERE job_id = %s
"""


# ── Bounds ───────────────────────────────────────────────────────────────────────────────────────


def test_a_user_has_a_limited_number_of_streams(service: Stack, owner: httpx.Client) -> None:
    with ExitStack() as stack:
        opened = [stack.enter_context(stream(owner, "/v1/events")) for _ in range(STREAMS_PER_USER)]
        assert all(next(events).event_id for events in opened)
        for path in ("/v1/events", f"/v1/jobs/{steps.create(owner)['job_id']}?wait=5"):
            answer = owner.get(path)
            assert (answer.status_code, answer.json()["code"]) == (429, "too_many_streams")
            assert int(answer.headers["retry-after"]) >= 1
        with client_of(service) as other, stream(other, "/v1/events") as events:
            next(events)  # another user has places
    await_streams(service, 0)
    with stream(owner, "/v1/events") as events:
        next(events)


def test_a_client_that_leaves_gives_its_place_back(service: Stack, owner: httpx.Client) -> None:
    job_id = steps.create(owner)["job_id"]
    with pytest.raises(httpx.ReadTimeout):
        owner.get(f"/v1/jobs/{job_id}?wait=30", timeout=httpx.Timeout(30, read=0.3))
    await_streams(service, 0)


def test_revoking_a_key_ends_its_streams(service: Stack) -> None:
    admin = issue_key(database_url(service), user_id="streamer", name="admin")
    with httpx.Client(base_url=service.api_url, headers={"Authorization": f"Bearer {admin}"}, timeout=30) as client:
        created = client.post("/v1/keys", json={"name": "short", "scopes": ["jobs:read", "jobs:write"]}).json()
        job_id = steps.create(client)["job_id"]
        with (
            httpx.Client(
                base_url=service.api_url, headers={"Authorization": f"Bearer {created['key']}"}, timeout=30
            ) as revoked,
            ThreadPoolExecutor(1) as pool,
            stream(revoked, "/v1/events") as events,
        ):
            next(events)
            waiting = pool.submit(revoked.get, f"/v1/jobs/{job_id}?wait=30")
            await_streams(service, 2)
            began = time.monotonic()
            assert client.delete(f"/v1/keys/{created['key_id']}").status_code == 204
            assert [event.kind for event in events if event.data] == []
            assert waiting.result().status_code == 401
            assert_within(2.5, began)


def test_a_slow_reader_misses_nothing_and_nobody_waits_for_it(service: Stack, owner: httpx.Client) -> None:
    user_id = f"slow-{uuid4()}"
    key = issue_key(database_url(service), user_id=user_id, name="test")
    host, port = service.api_url.removeprefix("http://").split(":")
    count = 3000
    with socket.create_connection((host, int(port))) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(f"GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
        await_streams(service, 1)
        assert b"id: " in _received(slow, b"id: ")
        with psycopg.connect(database_url(service), options="-c pixelflow.tenant_scope=everyone") as connection:
            connection.execute(_MANY_JOBS, (user_id, count))
        created = steps.started(owner, photo())
        assert owner.get(f"/v1/jobs/{created['job_id']}?wait=20").json()["status"] == "succeeded"
        seen: set[bytes] = set()
        while len(seen) < count:
            seen.update(re.findall(rb'"job_id":"([0-9a-f-]{36})"', _received(slow, b"\n\n")))


def _received(connection: socket.socket, end: bytes) -> bytes:
    """Bytes up to the next ``end``, at least."""
    received = b""
    connection.settimeout(30)
    while end not in received or not received.endswith(b"\n\n\r\n"):
        piece = connection.recv(65536)
        assert piece, "the stream has ended"
        received += piece
    return received


_MANY_JOBS = """
    INSERT INTO jobs (job_id, user_id, source_type, source_key, pipeline, max_attempts)
    SELECT gen_random_uuid(), %s, 'local_file', 'x', '[]', 1 FROM generate_series(1, %s)
"""


# ── The server ───────────────────────────────────────────────────────────────────────────────────


def test_streams_outlive_the_deadline_give_way_to_new_connections_and_end_with_the_process() -> None:
    settings = {
        "PIXELFLOW_API_REQUEST_SECONDS": "3",
        "PIXELFLOW_API_STATEMENT_SECONDS": "2",
        "PIXELFLOW_API_LOCK_SECONDS": "1",
        "PIXELFLOW_API_MAX_CONNECTIONS": "10",
    }
    with servers_alone() as stack, client_of(stack) as client:
        (api,) = (role for role in pixelflow_roles(stack) if role.name == "api")
        stack.start_processes([with_settings(api, settings)])
        job_id = steps.create(client)["job_id"]
        eventually(lambda: client.get(f"/v1/jobs/{job_id}?wait=3.5").status_code == 200)  # soon, if not at once
        with ExitStack() as streams:
            opened = [streams.enter_context(stream(client, "/v1/events")) for _ in range(10)]
            assert all(next(events).event_id for events in opened)
            with client_of(stack) as other:
                assert other.get(f"/v1/jobs/{job_id}").status_code == 200
            with pytest.raises(httpx.HTTPError):
                list(opened[0])  # closed in favor of the new connection
        with ThreadPoolExecutor(1) as pool, stream(client, "/v1/events") as events:
            next(events)
            waiting = pool.submit(client.get, f"/v1/jobs/{job_id}?wait=30")
            await_streams(stack, 2)
            began = time.monotonic()
            os.kill(process_of(stack, "api").pid, signal.SIGTERM)
            assert [event.data for event in events if event.data] == []
            assert waiting.result().json()["status"] == "created"
            assert_within(1, began)


# ── SDK and command line ─────────────────────────────────────────────────────────────────────────


def test_the_sdk_and_the_command_line_follow_a_job(service: Stack, tmp_path: Path) -> None:
    key = issue_key(database_url(service), user_id=f"user-{uuid4()}", name="test")
    (tmp_path / "photo.jpg").write_bytes(photo())
    with Client(service.api_url, key) as pixelflow:
        started = pixelflow.submit(tmp_path / "photo.jpg", [steps.resize()])
        assert [event.status for event in pixelflow.events(started.job_id)][-1] == "succeeded"
        assert pixelflow.wait(started.job_id, timeout=300).status == "succeeded"

    async def follow() -> list[str]:
        async with AsyncClient(service.api_url, key) as pixelflow:
            return [str(event.status) async for event in pixelflow.events(started.job_id)]

    assert asyncio.run(follow()) == ["succeeded"]
    watch = partial(
        command_line({"PIXELFLOW_API_URL": service.api_url, "PIXELFLOW_API_KEY": key}), "jobs", "watch", started.job_id
    )
    line = json.loads(watch("--json").stdout)
    assert (line["status"], line["id"].isdigit()) == ("succeeded", True)
    assert watch().stdout.split()[-2:] == [str(started.job_id), "succeeded"]
