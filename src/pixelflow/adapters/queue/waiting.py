"""dramatiq's consumer of one queue, which waits where its own would sleep: for a hint, or for a message to be done.

What it waits for only ends the wait. Whether there is a message is asked of the queue, whoever says what.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from dramatiq import MessageProxy
from dramatiq.brokers.redis import _RedisConsumer

if TYPE_CHECKING:
    from pixelflow.adapters.queue.broker import GuardedBroker


class WaitingConsumer(_RedisConsumer):
    """Fetches as its parent does, in the one thread that iterates over it; others acknowledge."""

    broker: GuardedBroker

    def __init__(self, broker: GuardedBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        """``timeout``, in milliseconds, is of each wait."""
        super().__init__(broker, queue_name, prefetch, timeout=0)  # type: ignore[no-untyped-call]  # 0: it never sleeps
        self._longest_seconds = timeout / 1000
        self._room = threading.Event()

    def __next__(self) -> MessageProxy | None:
        self._room.clear()  # before it is looked whether there is room: what ends after that ends the wait
        message: MessageProxy | None = super().__next__()  # type: ignore[no-untyped-call]
        if message is None:
            self._wait()
        return message

    def _wait(self) -> None:
        if self.outstanding_message_count >= self.prefetch:
            self._room.wait(self._longest_seconds)
        elif self.broker.ran_dry:
            self.broker.await_hint(self._longest_seconds)

    def ack(self, message: MessageProxy) -> None:
        """As its parent; there is room for another one then, however that ended."""
        try:
            super().ack(message)  # type: ignore[no-untyped-call]
        finally:
            self._room.set()

    def nack(self, message: MessageProxy) -> None:
        """As ``ack``."""
        try:
            super().nack(message)  # type: ignore[no-untyped-call]
        finally:
            self._room.set()
