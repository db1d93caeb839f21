"""The queue: dramatiq on Redis. A transport only: what it loses, the relay sends again from Postgres.

Messages are the models of :mod:`pixelflow.contracts.messages`. The id under which Redis keeps a message is the
``task_id`` of the job's row, so that it can be asked whether a message still stands for a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.worker import Worker

from pixelflow.contracts.messages import ACTOR, QUEUE, ProcessImage
from pixelflow.contracts.problems import QueueUnavailableError

HEARTBEAT_MS = 30_000
"""A worker that is silent for so long is taken for dead, and its messages go back to the queue."""
MAINTENANCE_PER_MILLION = 100_000
"""How often, in a million commands, dead workers are looked for."""
POLL_MS = 20
"""An idle worker looks for messages at least this often: it bounds the wait of a job on an idle system."""


def make_broker(redis_url: str, *, timeout: float) -> RedisBroker:
    """A broker without dramatiq's middleware: retries, time limits and results are rows in Postgres.

    Args:
        redis_url: where Redis is.
        timeout: seconds after which a call is given up.
    """
    client = redis.Redis.from_url(
        redis_url, socket_timeout=timeout, socket_connect_timeout=timeout, health_check_interval=15
    )
    broker = RedisBroker(  # type: ignore[no-untyped-call]
        client=client, middleware=[], heartbeat_timeout=HEARTBEAT_MS, maintenance_chance=MAINTENANCE_PER_MILLION
    )
    broker.declare_queue(QUEUE)
    return broker


class JobQueue:
    """The sending side."""

    def __init__(self, redis_url: str, *, timeout: float = 1.0) -> None:
        self._broker = make_broker(redis_url, timeout=timeout)

    def send(self, task_id: UUID, message: ProcessImage) -> None:
        """Put one message on the queue.

        Raises:
            QueueUnavailableError: Redis does not answer.
        """
        envelope: dramatiq.Message[Any] = dramatiq.Message(
            queue_name=QUEUE,
            actor_name=ACTOR,
            args=(message.model_dump(mode="json", by_alias=True),),
            kwargs={},
            options={"redis_message_id": str(task_id)},
            message_id=str(task_id),
        )
        with _mapped_errors():
            # What `Broker.enqueue` does, but for the id: it would draw one of its own, and no row could be asked for.
            self._broker.do_enqueue(QUEUE, str(task_id), envelope.encode())

    def standing(self, task_ids: Sequence[UUID]) -> set[UUID]:
        """Which of these messages Redis still holds, waiting or in a worker's hands.

        Raises:
            QueueUnavailableError: Redis does not answer.
        """
        with _mapped_errors():
            pipeline = self._broker.client.pipeline(transaction=False)
            for task_id in task_ids:
                pipeline.hexists(f"{self._broker.namespace}:{QUEUE}.msgs", str(task_id))
            return {task_id for task_id, found in zip(task_ids, pipeline.execute(), strict=True) if found}

    def ping(self) -> None:
        """Ask Redis whether it is there.

        Raises:
            QueueUnavailableError: it is not.
        """
        with _mapped_errors():
            self._broker.client.ping()

    def close(self) -> None:
        """Close the connections."""
        self._broker.client.close()


def make_consumer(redis_url: str, *, threads: int, handle: Callable[[ProcessImage], None]) -> Worker:
    """The receiving side: a dramatiq worker, not yet started, that calls ``handle`` in one of ``threads`` threads.

    The message is acknowledged when ``handle`` returns or raises: what became of the job is in its row.
    """
    broker = make_broker(redis_url, timeout=10)

    def process_image(message: dict[str, Any]) -> None:
        handle(ProcessImage.model_validate(message))

    dramatiq.actor(broker=broker, actor_name=ACTOR, queue_name=QUEUE)(process_image)
    worker = Worker(broker, queues={QUEUE}, worker_threads=threads, worker_timeout=POLL_MS)
    # Counts messages in progress too: fewer than the threads would starve them, many more would hoard what an idle
    # worker could do.
    worker.queue_prefetch = threads
    return worker


@contextmanager
def _mapped_errors() -> Iterator[None]:
    """The one place where redis-py's errors become PixelFlow's."""
    try:
        yield
    except redis.RedisError as error:
        raise QueueUnavailableError("The queue is not available") from error
