"""The sending side of the queue: sends messages and looks them up."""

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
"""A key that disappears when Redis loses its data."""


class JobQueue:
    """Sends messages."""

    def __init__(self, redis_url: str, *, timeout: float = 1.0) -> None:
        self._client = connect(redis_url, timeout=timeout)
        self._broker = GuardedBroker(self._client)

    def send(self, task_id: UUID, message: ProcessImage) -> None:
        """Send one message.

        Raises:
            QueueUnavailableError: Redis does not answer.
        """
        with _mapped_errors():
            # Like `Broker.enqueue`, which would choose an ID of its own, by which the row's message could not be found.
            self._broker.do_enqueue(QUEUE, str(task_id), encoded(task_id, message))

    def standing(self, task_ids: Sequence[UUID]) -> set[UUID]:
        """Return which of these messages Redis still has, waiting or in progress.

        Raises:
            QueueUnavailableError: Redis does not answer.
        """
        with _mapped_errors():
            pipeline = self._client.pipeline(transaction=False)
            for task_id in task_ids:
                pipeline.hexists(self._broker.messages_key, str(task_id))
            return {task_id for task_id, found in zip(task_ids, pipeline.execute(), strict=True) if found}

    def was_emptied(self) -> bool:
        """Return whether Redis lost its data (flushed, restarted without it) since the last call by any process.

        Raises:
            QueueUnavailableError: Redis does not answer.
        """
        with _mapped_errors():
            return bool(self._client.set(_WITNESS, "1", nx=True))

    def ping(self) -> None:
        """Check the connection.

        Raises:
            QueueUnavailableError: Redis does not answer.
        """
        with _mapped_errors():
            self._client.ping()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def encoded(task_id: UUID, message: ProcessImage) -> bytes:
    """Return the message as it is stored in Redis."""
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
    """Map the errors of redis-py to those of PixelFlow."""
    try:
        yield
    except redis.RedisError as error:
        raise QueueUnavailableError("The queue is not available") from error
