"""The receiving side of the queue: calls a function with every message, in threads, and says goodbye in order."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import dramatiq
import redis
from dramatiq.worker import Worker

from pixelflow.adapters.queue.broker import GuardedBroker, connect
from pixelflow.contracts.messages import ACTOR, QUEUE, ProcessImage

POLL_MS = 250
"""An idle worker looks for messages at least this often, though nobody gave it a hint; and looks whether to leave."""
_TIMEOUT_SECONDS = 10.0


class Consumer:
    """Takes messages and gives each to ``handle``, in one of ``threads`` threads.

    A message is acknowledged when ``handle`` returns or raises: what became of the job is in its row.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        threads: int,
        handle: Callable[[ProcessImage], None],
        rejected: Callable[[], None] = lambda: None,
    ) -> None:
        """Connect to nothing yet; ``rejected`` is told of each message that was set aside."""
        self._broker = GuardedBroker(connect(redis_url, timeout=_TIMEOUT_SECONDS), rejected=rejected)
        self._handle = handle
        dramatiq.actor(broker=self._broker, actor_name=ACTOR, queue_name=QUEUE)(self._process_image)
        self._worker = Worker(self._broker, queues={QUEUE}, worker_threads=threads, worker_timeout=POLL_MS)
        # Counts messages in progress too: fewer than the threads would starve them, many more would hoard what an idle
        # worker could do.
        self._worker.queue_prefetch = threads

    def _process_image(self, message: dict[str, Any]) -> None:
        self._handle(ProcessImage.model_validate(message))

    def start(self) -> None:
        """Begin to take messages."""
        self._worker.start()

    def leave(self) -> None:
        """Take nothing more, and give back at once what was fetched; what is in progress goes on.

        What is in progress goes back too: its row is leased, so that whoever takes the message finds nothing to do.
        """
        for thread in self._worker.workers:
            thread.stop()
        for consumer in self._worker.consumers.values():
            consumer.stop()
        for consumer in self._worker.consumers.values():
            consumer.join(timeout=_TIMEOUT_SECONDS)
        with suppress(redis.RedisError):  # away: the messages come back when this worker is taken for dead
            self._broker.do_requeue(QUEUE, *self._broker.client.smembers(self._broker.taken_key))

    def join(self, seconds: float) -> bool:
        """Wait for what is in progress, so long at most; says whether it ended."""
        deadline = time.monotonic() + seconds
        for thread in self._worker.workers:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._worker.workers)

    def close(self) -> None:
        """Close the connections."""
        self._broker.client.close()
