"""The sending side of the queue: messages go in, and can be asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import dramatiq
import redis

from pixelflow.adapters.queue.broker import GuardedBroker, connect
from pixelflow.contracts.errors import QueueUnavailableError
from pixelflow.contracts.messages import ACTOR, QUEUE, ProcessImage

_WITNESS = "pixelflow:witness"
"""A key that goes when all goes."""


class JobQueue:
    """Sends messages."""

    def __init__(self, redis_url: str, *, timeout: float = 1.0) -> None:
        self._client = connect(redis_url, timeout=timeout)
        self._broker = GuardedBroker(self._client)

    def send(self, task_id: UUID, message: ProcessImage) -> None:
        """Put one message on the queue.

        Raises:
            QueueUnavailableError: Redis does not answer.
        """
        with _mapped_errors():
            # What `Broker.enqueue` does, but for the id: it would draw one of its own, and no row could be asked for.
            self._broker.do_enqueue(QUEUE, str(task_id), encoded(task_id, message))

    def standing(self, task_ids: Sequence[UUID]) -> set[UUID]:
        """Which of these messages Redis still holds, waiting or in a worker's hands.

        Raises:
            QueueUnavailableError: Redis does not answer.
        """
        with _mapped_errors():
            pipeline = self._client.pipeline(transaction=False)
            for task_id in task_ids:
                pipeline.hexists(self._broker.messages_key, str(task_id))
            return {task_id for task_id, found in zip(task_ids, pipeline.execute(), strict=True) if found}

    def was_emptied(self) -> bool:
        """Whether Redis has lost everything since this was last asked, by anybody: flushed, or restarted without data.

        Raises:
            QueueUnavailableError: Redis does not answer.
        """
        with _mapped_errors():
            return bool(self._client.set(_WITNESS, "1", nx=True))

    def ping(self) -> None:
        """Ask Redis whether it is there.

        Raises:
            QueueUnavailableError: it is not.
        """
        with _mapped_errors():
            self._client.ping()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def encoded(task_id: UUID, message: ProcessImage) -> bytes:
    """The message as it lies in Redis."""
    envelope: dramatiq.Message[Any] = dramatiq.Message(
        queue_name=QUEUE,
        actor_name=ACTOR,
        args=(message.model_dump(mode="json", by_alias=True),),
        kwargs={},
        options={"redis_message_id": str(task_id)},
        message_id=str(task_id),
    )
    return envelope.encode()


@contextmanager
def _mapped_errors() -> Iterator[None]:
    """The one place where redis-py's errors become PixelFlow's."""
    try:
        yield
    except redis.RedisError as error:
        raise QueueUnavailableError("The queue is not available") from error
