"""The receiving side of the queue: calls a function for every message, in threads, and shuts down gracefully."""

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
"""An idle worker polls for messages and for its shutdown at least this often, without a hint."""
_TIMEOUT_SECONDS = 10.0


class Consumer:
    """Calls ``handle`` with each message, in one of ``threads`` threads.

    A message is acknowledged when ``handle`` returns or raises: the outcome of the job is in its row.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        threads: int,
        handle: Callable[[ProcessImage], None],
        on_rejected: Callable[[], None] = lambda: None,
    ) -> None:
        """Does not connect yet. ``on_rejected`` is called for each rejected message."""
        self._broker = GuardedBroker(connect(redis_url, timeout=_TIMEOUT_SECONDS), on_rejected=on_rejected)
        self._handle = handle
        dramatiq.actor(broker=self._broker, actor_name=ACTOR, queue_name=QUEUE)(self._process_image)
        self._worker = Worker(self._broker, queues={QUEUE}, worker_threads=threads, worker_timeout=POLL_MS)
        # Includes messages in progress: fewer than the threads would starve them, many more would keep messages from
        # idle workers.
        self._worker.queue_prefetch = threads

    def _process_image(self, message: dict[str, Any]) -> None:
        self._handle(ProcessImage.model_validate(message))

    def start(self) -> None:
        """Start to take messages."""
        self._worker.start()

    def leave(self) -> None:
        """Stop taking messages and requeue all fetched ones; handlers in progress continue.

        The messages in progress are requeued too: their jobs are leased, so that another worker finds nothing to do.
        """
        for thread in self._worker.workers:
            thread.stop()
        for consumer in self._worker.consumers.values():
            consumer.stop()
        for consumer in self._worker.consumers.values():
            consumer.join(timeout=_TIMEOUT_SECONDS)
        with suppress(redis.RedisError):  # Redis is down: the messages are requeued when this worker counts as dead
            self._broker.do_requeue(QUEUE, *self._broker.client.smembers(self._broker.taken_key))

    def join(self, seconds: float) -> bool:
        """Wait for handlers in progress, at most ``seconds``; returns whether all ended."""
        deadline = time.monotonic() + seconds
        for thread in self._worker.workers:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._worker.workers)

    def close(self) -> None:
        """Close the connections."""
        self._broker.client.close()
