"""The queue on a real server: invalid messages, newer versions, duplicates, shutdown, and loss of all data."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import redis

from pixelflow.adapters.postgres.database import AsyncDatabase
from pixelflow.adapters.queue import Consumer, JobQueue
from pixelflow.adapters.queue.broker import DEFER_SECONDS, MAX_REJECTED, TIDY_SECONDS, GuardedBroker
from pixelflow.adapters.queue.consumer import POLL_MS
from pixelflow.adapters.queue.envelopes import MAX_BYTES, Classification, classify
from pixelflow.contracts.errors import QueueUnavailableError
from pixelflow.contracts.messages import QUEUE, ProcessImage
from pixelflow.controlplane.queue.relay import Relay
from pixelflow.settings import Settings

LIST = f"dramatiq:{QUEUE}"
GOLDEN = Path(__file__).parents[1] / "golden" / "queue" / "process_image.v1.json"
POLL_SECONDS = POLL_MS / 1000
GARBAGE = [
    b"",
    b"\xff\xfe garbage",
    b"[" * 10_000,
    b"x" * (MAX_BYTES + 1),
    b'{"queue_name": "images"}',
    b'{"queue_name": "images", "actor_name": "rm", "args": [{}], "kwargs": {}, "options": {}}',
]


@dataclass
class Time:
    """A manual clock."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def url(quiet: Settings) -> str:
    return quiet.redis_url.get_secret_value()


@pytest.fixture
def server(url: str) -> Iterator[redis.Redis]:
    """An empty Redis."""
    with redis.Redis.from_url(url) as client:
        client.flushall()
        yield client


@pytest.fixture
def queue(url: str, server: redis.Redis) -> Iterator[JobQueue]:  # noqa: ARG001 - it was emptied
    opened = JobQueue(url)
    yield opened
    opened.close()


def send(queue: JobQueue, count: int = 1) -> list[UUID]:
    """Put messages for that many jobs on the queue; the job's id is the task's too."""
    ids = [uuid4() for _ in range(count)]
    for job_id in ids:
        queue.send(job_id, ProcessImage(job_id=job_id, requested_at=datetime.now(UTC)))
    return ids


def put(server: redis.Redis, raw: bytes, message_id: str | bytes | None = None) -> None:
    """Put arbitrary bytes on the queue."""
    message_id = message_id or str(uuid4())
    server.hset(f"{LIST}.msgs", message_id, raw)
    server.rpush(LIST, message_id)


def forged(message_id: str, **fields: object) -> bytes:
    """A valid message with these fields of its body changed."""
    message: dict[str, Any] = json.loads(GOLDEN.read_bytes())
    message["args"][0] |= fields
    message["options"]["redis_message_id"] = message["message_id"] = message_id
    return json.dumps(message).encode()


def taken(server: redis.Redis) -> set[Any]:
    """IDs that workers fetched and did not acknowledge."""
    return {each for key in server.scan_iter("dramatiq:__acks__.*") for each in server.smembers(key)}


def waiting(server: redis.Redis) -> list[UUID]:
    """The tasks whose messages wait, in order."""
    raws: list[Any] = server.lrange(LIST, 0, -1)
    return [UUID(raw.decode()) for raw in raws]


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"timed out after {seconds} s"
        time.sleep(0.005)


def nothing_left(server: redis.Redis) -> bool:
    """Whether no message waits, is stored or is in progress."""
    return not server.llen(LIST) and not server.hlen(f"{LIST}.msgs") and not taken(server)


@dataclass
class Handled:
    """A handler that records its messages; with ``hold``, it waits for ``go``."""

    hold: bool = False
    begun: list[UUID] = field(default_factory=list)
    done: list[UUID] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)

    def __call__(self, message: ProcessImage) -> None:
        self.begun.append(message.job_id)
        if self.hold:
            assert self.go.wait(30)
        self.done.append(message.job_id)


@contextmanager
def consuming(url: str, handle: Callable[[ProcessImage], None], *, threads: int = 2) -> Iterator[Consumer]:
    consumer = Consumer(url, threads=threads, handle=handle)
    consumer.start()
    try:
        yield consumer
    finally:
        consumer.leave()
        assert consumer.join(10)
        consumer.close()


def test_messages_are_handled_and_deleted(url: str, server: redis.Redis, queue: JobQueue) -> None:
    handled = Handled()
    ids = send(queue, 20)
    assert queue.standing(ids) == set(ids)
    with consuming(url, handled):
        until(lambda: len(handled.done) == 20 and nothing_left(server))
    assert sorted(handled.done) == sorted(ids)
    assert queue.standing(ids) == set()


def test_garbage_is_rejected_and_stops_no_valid_message(url: str, server: redis.Redis, queue: JobQueue) -> None:
    handled, ids = Handled(), []
    for raw in GARBAGE:
        put(server, raw)
        ids += send(queue)
        put(server, raw, b"\xff" + uuid4().bytes)
        ids += send(queue)
    with consuming(url, handled):
        until(lambda: len(handled.done) >= len(ids) and nothing_left(server))
    assert sorted(handled.done) == sorted(ids)
    aside = server.lrange(f"{LIST}.rejected", 0, -1)
    assert sorted(aside) == sorted([raw[:MAX_BYTES] for raw in GARBAGE] * 2)


def test_rejected_messages_are_counted_and_their_list_is_limited(server: redis.Redis) -> None:
    clock, rejected = Time(), Counter[str]()
    broker = GuardedBroker(server, clock=clock, on_rejected=lambda: rejected.update(["rejected"]))
    for number in range(MAX_REJECTED + 20):
        put(server, f"garbage {number}".encode())
    while not nothing_left(server):
        assert broker.do_fetch(QUEUE, 100) == []
    assert server.llen(broker.rejected_key) == MAX_REJECTED
    latest = {f"garbage {number}".encode() for number in range(100, MAX_REJECTED + 20)}
    assert latest <= set(server.lrange(broker.rejected_key, 0, -1)), "the oldest are deleted first"
    assert server.get(f"{broker.rejected_key}.count") == str(MAX_REJECTED + 20).encode()
    assert rejected["rejected"] == MAX_REJECTED + 20


def test_a_message_that_fails_in_the_handler_does_not_stop_the_next(
    url: str, server: redis.Redis, queue: JobQueue
) -> None:
    handled = Handled()
    broken, fine = send(queue, 2)

    def handle(message: ProcessImage) -> None:
        if message.job_id == broken:
            raise RuntimeError("a bug")
        handled(message)

    with consuming(url, handle, threads=1):
        until(lambda: handled.done == [fine] and nothing_left(server))


@pytest.mark.parametrize("message_id", ["gone", "\N{SNOWMAN}", b"\xff"])
def test_an_id_without_a_message_is_acknowledged(
    url: str, server: redis.Redis, queue: JobQueue, message_id: str | bytes
) -> None:
    handled = Handled()
    server.rpush(LIST, message_id)
    ids = send(queue)
    with consuming(url, handled):
        until(lambda: handled.done == ids and nothing_left(server))


def test_a_message_under_another_id_than_its_own_is_rejected(url: str, server: redis.Redis, queue: JobQueue) -> None:
    handled = Handled()
    [other] = send(queue)
    put(server, forged(str(other)), "not its own")
    with consuming(url, handled):
        until(lambda: other in handled.done and nothing_left(server))
    assert server.llen(f"{LIST}.rejected") == 1


def test_copies_of_one_message_leave_nothing_behind(url: str, server: redis.Redis, queue: JobQueue) -> None:
    handled = Handled()
    [job_id] = send(queue)
    server.rpush(LIST, *[str(job_id)] * 5)
    with consuming(url, handled):
        until(lambda: nothing_left(server))
        [last] = send(queue)
        until(lambda: last in handled.done and nothing_left(server))
    assert 1 <= handled.done.count(job_id) <= 6, "each copy is handled at most once; all but one find nothing to do"


# ── Versions ─────────────────────────────────────────────────────────────────────────────────────


def newer_classify(raw: bytes) -> Classification:
    """Like a release that knows version 2."""
    return Classification.TAKE if classify(raw) is Classification.DEFER else classify(raw)


def test_a_newer_version_is_deferred_unchanged_to_a_newer_worker(server: redis.Redis, queue: JobQueue) -> None:
    task_id, clock = uuid4(), Time()
    raw = forged(str(task_id), version=2, job_id=None, jobs=["a", "b"])
    old = GuardedBroker(server, clock=clock)
    new = GuardedBroker(server, classify=newer_classify, clock=clock)
    put(server, raw, str(task_id))
    assert [old.do_fetch(QUEUE, 5), old.do_fetch(QUEUE, 5)] == [[], []]
    assert taken(server) == set()
    assert queue.standing([task_id]) == {task_id}, "the relay must not send it again"
    clock.now += DEFER_SECONDS - 1
    assert new.do_fetch(QUEUE, 5) == [], "not too often"
    clock.now += TIDY_SECONDS + 1
    assert new.do_fetch(QUEUE, 5) == [raw]
    new.do_ack(QUEUE, str(task_id))
    assert nothing_left(server)
    assert server.llen(old.rejected_key) == 0


def test_a_newer_version_is_offered_again_until_a_newer_worker_takes_it(server: redis.Redis, queue: JobQueue) -> None:
    task_id, clock = uuid4(), Time()
    brokers = [GuardedBroker(server, clock=clock) for _ in range(2)]
    put(server, forged(str(task_id), version=2), str(task_id))
    for _ in range(20):
        clock.now += DEFER_SECONDS / 2
        assert [broker.do_fetch(QUEUE, 5) for broker in brokers] == [[], []]
        assert server.llen(LIST) + server.zcard(brokers[0].deferred_key) + len(taken(server)) == 1
    assert queue.standing([task_id]) == {task_id}


def test_the_next_version_stops_no_message_of_this_one(url: str, server: redis.Redis, queue: JobQueue) -> None:
    handled, ids = Handled(), []
    for _ in range(5):
        task_id = str(uuid4())
        put(server, forged(task_id, version=2), task_id)
        ids += send(queue)
    with consuming(url, handled):
        until(lambda: len(handled.done) == 5 and not taken(server))
    assert sorted(handled.done) == sorted(ids)
    assert server.hlen(f"{LIST}.msgs") == 5


# ── What a worker holds ──────────────────────────────────────────────────────────────────────────


def test_fetched_messages_that_never_arrived_are_requeued(server: redis.Redis, queue: JobQueue) -> None:
    clock = Time()
    broker = GuardedBroker(server, clock=clock)
    ids = {str(each).encode() for each in send(queue, 3)}
    assert len(broker._dispatch("fetch")(QUEUE, 3)) == 3  # type: ignore[no-untyped-call] # and the reply is lost
    assert taken(server) == ids
    assert broker.do_fetch(QUEUE, 3) != []
    assert len({json.loads(raw)["message_id"] for raw in broker.do_fetch(QUEUE, 3)}) == 0
    assert taken(server) == ids


def test_messages_in_progress_are_not_requeued(server: redis.Redis, queue: JobQueue) -> None:
    clock = Time()
    broker = GuardedBroker(server, clock=clock)
    [task_id] = send(queue)
    assert len(broker.do_fetch(QUEUE, 3)) == 1
    for _ in range(5):
        clock.now += 10 * TIDY_SECONDS
        assert broker.do_fetch(QUEUE, 3) == []
    assert taken(server) == {str(task_id).encode()}
    broker.do_ack(QUEUE, str(task_id))
    assert nothing_left(server)


class Breaking(redis.Redis):
    """A client whose connection can break."""

    broken = False

    def execute_command(self, *args: object, **options: object) -> object:
        if self.broken:
            raise redis.ConnectionError("broken")
        return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]


def test_a_message_that_could_not_be_acknowledged_is_redelivered(
    url: str, server: redis.Redis, queue: JobQueue
) -> None:
    clock = Time()
    [task_id] = send(queue)
    with Breaking.from_url(url) as client:
        broker = GuardedBroker(client, clock=clock)
        [raw] = broker.do_fetch(QUEUE, 1)
        client.broken = True
        with pytest.raises(redis.ConnectionError):
            broker.do_ack(QUEUE, str(task_id))
        client.broken = False
        clock.now += TIDY_SECONDS
        assert broker.do_fetch(QUEUE, 1) == [raw]
        broker.do_ack(QUEUE, str(task_id))
    assert nothing_left(server)


def test_a_stopping_consumer_requeues_its_messages_and_finishes_those_in_progress(
    url: str, server: redis.Redis, queue: JobQueue
) -> None:
    held, others = Handled(hold=True), Handled()
    ids = send(queue, 6)
    consumer = Consumer(url, threads=2, handle=held)
    consumer.start()
    until(lambda: len(held.begun) == 2)
    began = time.monotonic()
    consumer.leave()
    assert time.monotonic() - began < 1
    assert not taken(server)
    assert sorted(waiting(server)) == sorted(ids)
    assert not consumer.join(0.05), "two are still in progress"
    with consuming(url, others):
        until(lambda: set(others.done) == set(ids) and nothing_left(server))
    held.go.set()
    assert consumer.join(5)
    consumer.close()
    assert sorted(held.done) == sorted(held.begun)
    assert len(held.begun) == 2, "nothing new was begun after leaving"
    assert nothing_left(server)


def test_messages_of_a_dead_worker_are_requeued(server: redis.Redis, queue: JobQueue) -> None:
    dead, alive = GuardedBroker(server), GuardedBroker(server)
    ids = send(queue, 3)
    assert len(dead.do_fetch(QUEUE, 3)) == 3
    long_ago = (time.time() - 60) * 1000
    server.zadd("dramatiq:__heartbeats__", {dead.broker_id: long_ago})
    alive.maintenance_chance = 1_000_000
    found: list[bytes] = []
    until(lambda: len(found.extend(alive.do_fetch(QUEUE, 3)) or found) == 3)  # type: ignore[func-returns-value]
    assert {UUID(json.loads(raw)["message_id"]) for raw in found} == set(ids)


# ── Waiting for a message ────────────────────────────────────────────────────────────────────────


@dataclass
class Arrivals:
    """Records when each message was begun."""

    begun: dict[UUID, float] = field(default_factory=dict)

    def __call__(self, message: ProcessImage) -> None:
        self.begun[message.job_id] = time.monotonic()


def waiting_workers(server: redis.Redis, count: int) -> Callable[[], bool]:
    """Whether so many workers wait for a hint."""
    return lambda: int(server.info("clients")["blocked_clients"]) == count


def test_an_idle_worker_begins_at_once(url: str, server: redis.Redis, queue: JobQueue) -> None:
    arrivals, waits = Arrivals(), []
    with consuming(url, arrivals):
        for _ in range(15):
            until(waiting_workers(server, 1))
            sent = time.monotonic()
            [job_id] = send(queue)
            until(lambda job_id=job_id: job_id in arrivals.begun)  # type: ignore[misc]
            waits.append(arrivals.begun[job_id] - sent)
    assert statistics.median(waits) < POLL_SECONDS / 5, "polling alone would take longer"


def test_an_idle_worker_finds_messages_without_a_hint(url: str, server: redis.Redis) -> None:
    arrivals = Arrivals()
    with consuming(url, arrivals):
        until(waiting_workers(server, 1))
        put(server, forged("silent"), "silent")
        until(lambda: bool(arrivals.begun), seconds=8 * POLL_SECONDS)


@pytest.mark.parametrize("hints", ["a string", None])
def test_invalid_hints_delay_neither_senders_nor_workers(
    url: str, server: redis.Redis, queue: JobQueue, hints: str | None
) -> None:
    handled = Handled()
    with consuming(url, handled):
        if hints:
            server.set(f"{LIST}.hints", hints)
        else:
            server.rpush(f"{LIST}.hints", *[""] * 10_000)
        ids = send(queue, 5)
        until(lambda: sorted(handled.done) == sorted(ids) and nothing_left(server))
    assert hints or server.llen(f"{LIST}.hints") <= 1


def test_hints_do_not_accumulate_while_no_worker_waits(server: redis.Redis, queue: JobQueue) -> None:
    send(queue, 20)
    assert server.llen(f"{LIST}.hints") == 1


def test_one_message_wakes_one_worker(url: str, server: redis.Redis, queue: JobQueue) -> None:
    woken: list[int] = []

    def wait(number: int) -> None:
        with redis.Redis.from_url(url) as client:
            GuardedBroker(client).await_hint(30)
        woken.append(number)

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(5)]
    for already, thread in enumerate(threads):
        thread.start()
        until(waiting_workers(server, already + 1))
    for number in range(5):
        send(queue)
        until(lambda number=number: woken == list(range(number + 1)))  # type: ignore[misc]
        assert waiting_workers(server, 4 - number)(), "the others still wait"
    for thread in threads:
        thread.join()


def test_requeued_messages_wake_other_workers(url: str, server: redis.Redis, queue: JobQueue) -> None:
    arrivals, leaving = Arrivals(), GuardedBroker(server)
    [job_id] = send(queue)
    assert len(leaving.do_fetch(QUEUE, 1)) == 1
    with consuming(url, arrivals):
        until(waiting_workers(server, 1))
        given_back = time.monotonic()
        leaving.do_requeue(QUEUE, str(job_id))
        until(lambda: job_id in arrivals.begun)
    assert arrivals.begun[job_id] - given_back < POLL_SECONDS / 2


def test_a_busy_worker_takes_the_next_message_immediately(url: str, server: redis.Redis, queue: JobQueue) -> None:
    arrivals = Arrivals()
    with consuming(url, arrivals, threads=1):
        until(waiting_workers(server, 1))
        began = time.monotonic()
        ids = send(queue, 20)
        until(lambda: len(arrivals.begun) == 20 and nothing_left(server))
    assert max(arrivals.begun.values()) - began < 20 * POLL_SECONDS / 4, "it does not sleep between them"
    assert set(arrivals.begun) == set(ids)


def test_an_idle_worker_stops_promptly(url: str, server: redis.Redis) -> None:
    consumer = Consumer(url, threads=2, handle=Handled())
    consumer.start()
    until(waiting_workers(server, 1))
    began = time.monotonic()
    consumer.leave()
    assert consumer.join(5)
    consumer.close()
    assert time.monotonic() - began < 4 * POLL_SECONDS


def test_a_waiting_worker_survives_the_loss_of_its_connection(url: str, server: redis.Redis, queue: JobQueue) -> None:
    handled = Handled()
    with consuming(url, handled):
        until(waiting_workers(server, 1))
        server.flushall()
        for client in server.client_list():
            if client["cmd"] == "blpop":
                server.client_kill_filter(_id=client["id"])
        ids = send(queue, 3)
        until(lambda: sorted(handled.done) == sorted(ids) and nothing_left(server))


# ── Loss of all data ────────────────────────────────────────────────────────────────────────────


def test_an_emptied_server_is_detected_once(server: redis.Redis, queue: JobQueue) -> None:
    assert [queue.was_emptied(), queue.was_emptied()] == [True, False]
    server.flushall()
    assert [queue.was_emptied(), queue.was_emptied()] == [True, False]


def test_a_consumer_survives_the_loss_of_all_data(url: str, server: redis.Redis, queue: JobQueue) -> None:
    handled = Handled()
    with consuming(url, handled):
        [first] = send(queue)
        until(lambda: handled.done == [first])
        server.flushall()
        server.script_flush()
        [second] = send(queue)
        until(lambda: handled.done == [first, second])


def test_an_unreachable_queue_is_unavailable() -> None:
    queue = JobQueue("redis://127.0.0.1:1/0", timeout=0.2)
    for ask in (lambda: send(queue), lambda: queue.standing([uuid4()]), queue.was_emptied, queue.ping):
        with pytest.raises(QueueUnavailableError, match="The queue is not available"):
            ask()


def queued_rows(quiet: Settings, count: int) -> list[UUID]:
    """Rows of queued jobs whose messages were never sent; returns their tasks."""
    ids = [uuid4() for _ in range(count)]
    with _connected(quiet) as connection:
        for each in ids:
            connection.execute(
                """
                INSERT INTO jobs (job_id, user_id, status, source_type, source_key, pipeline, max_attempts,
                                  run_at, queued_at, task_id)
                VALUES (%s, 'user', 'queued', 's3_presigned', 'x', '[]', 5, now(), now(), %s)
                """,
                (uuid4(), each),
            )
    return ids


@contextmanager
def _connected(quiet: Settings) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    url = quiet.database_url.get_secret_value()
    with psycopg.connect(url, autocommit=True, options="-c pixelflow.tenant_scope=everyone") as connection:
        yield connection


@pytest.fixture
def _no_jobs(quiet: Settings) -> Iterator[None]:
    with _connected(quiet) as connection:
        connection.execute("DELETE FROM jobs")
        yield
        connection.execute("DELETE FROM jobs")


@pytest.mark.usefixtures("_no_jobs")
async def test_after_a_flush_the_relay_sends_every_message_again_once(
    *, quiet: Settings, async_database: AsyncDatabase, server: redis.Redis, queue: JobQueue
) -> None:
    ids = queued_rows(quiet, 50)
    relay = Relay(async_database, queue)
    assert [await relay.run_once(), await relay.run_once()] == [50, 0]
    server.flushall()
    assert [await relay.run_once(), await relay.run_once()] == [50, 0]
    assert sorted(waiting(server)) == sorted(ids)
    assert queue.standing(ids) == set(ids)


@pytest.mark.usefixtures("_no_jobs")
async def test_the_relay_sends_only_what_is_missing(
    *, quiet: Settings, async_database: AsyncDatabase, server: redis.Redis, queue: JobQueue
) -> None:
    ids = queued_rows(quiet, 10)
    relay = Relay(async_database, queue, stale=timedelta(0))
    assert await relay.run_once() == 10
    for lost in ids[:3]:
        server.hdel(f"{LIST}.msgs", str(lost))
    worker = GuardedBroker(server)
    in_hands = {json.loads(raw)["message_id"] for raw in worker.do_fetch(QUEUE, 5)}
    assert in_hands == {str(each) for each in ids[3:5]}
    assert await relay.run_once() == 3
    assert sorted(waiting(server)) == sorted(ids[:3] + ids[5:])


@pytest.mark.usefixtures("_no_jobs")
async def test_two_relays_share_the_work(
    *, quiet: Settings, async_database: AsyncDatabase, server: redis.Redis, queue: JobQueue
) -> None:
    queued_rows(quiet, 30)
    assert await Relay(async_database, queue).run_once() + await Relay(async_database, queue).run_once() == 30
    assert server.llen(LIST) == 30


@pytest.mark.usefixtures("_no_jobs", "server")
async def test_rows_whose_messages_could_not_be_sent_are_sent_when_redis_is_back(
    *, quiet: Settings, async_database: AsyncDatabase, queue: JobQueue
) -> None:
    ids = queued_rows(quiet, 3)
    away = JobQueue("redis://127.0.0.1:1/0", timeout=0.2)
    with pytest.raises(QueueUnavailableError):
        await Relay(async_database, away).run_once()
    assert await Relay(async_database, queue).run_once() == 3
    assert queue.standing(ids) == set(ids)
