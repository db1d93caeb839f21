"""The relay: every queued job gets its message, whatever happens to Redis."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
import redis
from tests.integration.job_rows import claimed, put, row_of

from pixelflow.adapters.postgres.database import AsyncDatabase, Connection
from pixelflow.adapters.queue import JobQueue
from pixelflow.contracts.errors import QueueUnavailableError
from pixelflow.contracts.messages import ProcessImage
from pixelflow.controlplane.queue.relay import Relay
from pixelflow.devstack.ports import LOOPBACK
from pixelflow.devstack.stack import Stack

AT_ONCE = timedelta(0)


@pytest.fixture
def valkey(quiet_stack: Stack) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(quiet_stack.environment["PIXELFLOW_REDIS_URL"]) as client:
        client.flushall()
        yield client


@pytest.fixture
def queue(quiet_stack: Stack, valkey: redis.Redis) -> Iterator[JobQueue]:
    del valkey  # empties the queue first
    queue = JobQueue(quiet_stack.environment["PIXELFLOW_REDIS_URL"])
    yield queue
    queue.close()


class Counted:
    """Counts its calls."""

    times = 0

    def __call__(self) -> None:
        self.times += 1


def _task_of(connection: Connection, job_id: UUID) -> UUID:
    task_id: UUID = row_of(connection, job_id)["task_id"]
    return task_id


async def test_a_job_without_a_message_gets_one(
    connection: Connection, async_database: AsyncDatabase, queue: JobQueue
) -> None:
    task = _task_of(connection, put(connection))
    enqueued = Counted()
    assert await Relay(async_database, queue, on_enqueued=enqueued).run_once() == 1
    assert queue.standing([task]) == {task}
    assert await Relay(async_database, queue, on_enqueued=enqueued).run_once() == 0
    assert enqueued.times == 1


async def test_a_message_that_redis_has_is_not_sent_again(
    connection: Connection, async_database: AsyncDatabase, queue: JobQueue, valkey: redis.Redis
) -> None:
    put(connection)
    relay = Relay(async_database, queue, stale=AT_ONCE)
    assert [await relay.run_once() for _ in range(3)] == [1, 0, 0]
    assert valkey.llen("dramatiq:images") == 1


async def test_messages_that_redis_lost_are_sent_again(
    connection: Connection, async_database: AsyncDatabase, queue: JobQueue, valkey: redis.Redis
) -> None:
    tasks = {_task_of(connection, put(connection)) for _ in range(3)}
    relay = Relay(async_database, queue, stale=AT_ONCE)
    assert await relay.run_once() == 3
    valkey.flushall()
    assert await relay.run_once() == 3
    assert queue.standing(list(tasks)) == tasks


async def test_a_retry_is_sent_when_it_is_due_and_not_before(
    connection: Connection, async_database: AsyncDatabase, queue: JobQueue
) -> None:
    job_id = put(connection, due_in=60)
    claimed(connection)
    relay = Relay(async_database, queue)
    assert await relay.run_once() == 0
    connection.execute("UPDATE jobs SET run_at = now() WHERE job_id = %s", (job_id,))
    assert await relay.run_once() == 1


async def test_while_redis_is_down_the_rows_stay_due(
    connection: Connection, async_database: AsyncDatabase, queue: JobQueue
) -> None:
    task = _task_of(connection, put(connection))
    nowhere = JobQueue(f"redis://{LOOPBACK}:1/0")
    with pytest.raises(QueueUnavailableError):
        await Relay(async_database, nowhere).run_once()
    nowhere.close()
    assert await Relay(async_database, queue).run_once() == 1
    assert queue.standing([task]) == {task}


def test_sending_to_an_unreachable_queue_fails_quickly() -> None:
    queue = JobQueue(f"redis://{LOOPBACK}:1/0")
    message = ProcessImage(job_id=uuid4(), requested_at=datetime.now(UTC))
    with pytest.raises(QueueUnavailableError):
        queue.send(uuid4(), message)
    queue.close()
