"""dramatiq's Redis broker, which classifies every message before a worker gets it.

- Invalid messages are moved to a list of the last thousand, counted and logged.
- Messages of a newer version are deferred: offered again every few seconds until a newer worker takes them.
- Messages that Redis gave to this worker and that never arrived (the connection broke) are requeued.
- A sender pushes a hint to a list beside the queue, which wakes one idle worker. No message depends on it: workers also
  poll.

dramatiq's own broker stops its consumer at the first message that it can't decode, together with the messages of the
same fetch, and requeues messages that never arrived only when the worker has died.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import redis
import structlog
from dramatiq import MessageProxy
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer

from pixelflow.adapters.queue.envelopes import MAX_BYTES, Classification, classify, kept_as
from pixelflow.contracts.messages import QUEUE

HEARTBEAT_MS = 30_000
"""After this long without a heartbeat, a worker counts as dead and its messages are requeued."""
MAINTENANCE_PER_MILLION = 250_000
"""Fraction (per million) of commands that look for dead workers: about one per second of an idle worker."""
MAX_REJECTED = 1000
DEFER_SECONDS = 5.0
TIDY_SECONDS = 1.0
"""Interval of the checks for deferred messages and for messages that never arrived."""
_SEND = """
redis.call('hset', KEYS[1], ARGV[1], ARGV[2])
redis.call('rpush', KEYS[2], ARGV[1])
redis.pcall('lpush', KEYS[3], '')
redis.pcall('ltrim', KEYS[3], 0, 0)
"""
"""What dramatiq does, and a hint. At most one hint is kept while no worker waits."""
_OFFER = """
for _, message_id in ipairs(redis.call('zrangebyscore', KEYS[1], 0, ARGV[1], 'LIMIT', 0, 100)) do
    redis.call('zrem', KEYS[1], message_id)
    redis.call('rpush', KEYS[2], message_id)
end
"""

_log = structlog.get_logger(__name__)


def connect(redis_url: str, *, timeout: float) -> redis.Redis:
    """Return a client; ``timeout`` is in seconds, for connecting and for each reply."""
    client: redis.Redis = redis.Redis.from_url(
        redis_url, socket_timeout=timeout, socket_connect_timeout=timeout, health_check_interval=15
    )
    return client


class GuardedBroker(RedisBroker):
    """The broker, without dramatiq's middleware: retries, time limits and results are rows in Postgres."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        classify: Callable[[bytes], Classification] = classify,
        clock: Callable[[], float] = time.time,
        on_rejected: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            client=client, middleware=[], heartbeat_timeout=HEARTBEAT_MS, maintenance_chance=MAINTENANCE_PER_MILLION
        )
        self._classify = classify
        self._clock = clock
        self._on_rejected = on_rejected
        self._tidy_at = 0.0
        self._send = client.register_script(_SEND)
        self._offer = client.register_script(_OFFER)
        self.ran_dry = False
        """Whether the last fetch found the queue empty."""
        self._held: set[str] = set()
        """IDs of messages that arrived and are not acknowledged."""
        self.declare_queue(QUEUE)

    def declare_queue(self, queue_name: str) -> None:
        """Declare a queue without dramatiq's delay queue: the time when a job is due is in its row."""
        if queue_name not in self.queues:
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)

    @property
    def consumer_class(self) -> type[WaitingConsumer]:
        """The class that iterates over a worker's messages."""
        return WaitingConsumer

    @property
    def queue_key(self) -> str:
        """List: IDs of waiting messages."""
        return f"{self.namespace}:{QUEUE}"

    @property
    def hints_key(self) -> str:
        """List: hints that idle workers wait for."""
        return f"{self.namespace}:{QUEUE}.hints"

    @property
    def messages_key(self) -> str:
        """Hash: messages by ID."""
        return f"{self.namespace}:{QUEUE}.msgs"

    @property
    def taken_key(self) -> str:
        """Set: IDs that this broker fetched and has not acknowledged."""
        return f"{self.namespace}:__acks__.{self.broker_id}.{QUEUE}"

    @property
    def rejected_key(self) -> str:
        """List: the latest rejected messages."""
        return f"{self.namespace}:{QUEUE}.rejected"

    @property
    def deferred_key(self) -> str:
        """Sorted set: IDs of deferred messages, by the time of the next offer."""
        return f"{self.namespace}:{QUEUE}.parked"

    def do_enqueue(self, queue_name: str, message_id: str, raw: bytes) -> None:  # noqa: ARG002  # there is one queue
        """Put a message on the queue, and wake a worker."""
        self._send(keys=[self.messages_key, self.queue_key, self.hints_key], args=[message_id, raw])

    def do_requeue(self, queue_name: str, *message_ids: str | bytes) -> None:
        """Requeue messages and wake as many workers, at least one: this worker may have consumed a hint."""
        self._dispatch("requeue")(queue_name, *message_ids)  # type: ignore[no-untyped-call]
        # Not a transaction: workers must wake up between the two commands.
        with self.client.pipeline(transaction=False) as hints:
            hints.lpush(self.hints_key, *[""] * max(1, len(message_ids)))
            hints.ltrim(self.hints_key, 0, 0)
            hints.execute(raise_on_error=False)

    def await_hint(self, seconds: float) -> None:
        """Wait for a hint, at most ``seconds``."""
        try:
            self.client.blpop([self.hints_key], timeout=seconds)
        except redis.RedisError:  # if Redis is down, the next fetch raises
            time.sleep(seconds)

    def do_fetch(self, queue_name: str, count: int) -> list[bytes]:
        """Fetch up to ``count`` messages that this release can process."""
        self._tidy()
        fetched: list[bytes | None] = self._dispatch("fetch")(queue_name, count)  # type: ignore[no-untyped-call]
        self.ran_dry = not fetched
        # Nothing below may raise: the fetched messages would be lost.
        arrived = [raw for raw in fetched if raw is not None and self._classify(raw) is Classification.TAKE]
        self._held.update(kept_as(raw) for raw in arrived)
        if len(arrived) < len(fetched):
            self._tidy_at = 0.0
        return arrived

    def do_ack(self, queue_name: str, message_id: str) -> None:
        """Acknowledge a message. If that fails, the message is redelivered, and its job found to be finished."""
        try:
            self._dispatch("ack")(queue_name, message_id)  # type: ignore[no-untyped-call]
        finally:
            self._held.discard(message_id)

    def _tidy(self) -> None:
        now = self._clock()
        if now < self._tidy_at:
            return
        self._offer(keys=[self.deferred_key, self.queue_key], args=[now])
        self._settle_strays()
        self._tidy_at = now + TIDY_SECONDS

    def _settle_strays(self) -> None:
        """Settle the messages that Redis gave to this worker and that the worker does not hold.

        Asks Redis for their IDs: the content of a message does not reliably name the ID under which it is stored.
        """
        taken: set[Any] = self.client.smembers(self.taken_key)
        strays = [message_id for message_id in taken if message_id.decode(errors="replace") not in self._held]
        if strays:
            for message_id, raw in zip(strays, self.client.hmget(self.messages_key, strays), strict=True):
                self._settle(message_id, raw)

    def _settle(self, message_id: bytes, raw: bytes | None) -> None:
        if raw is None:  # a duplicate ID of an acknowledged message
            self.client.srem(self.taken_key, message_id)
            return
        classification = self._classify(raw)
        if classification is Classification.DEFER:
            self._defer(message_id)
        elif (
            classification is Classification.REJECT or kept_as(raw).encode() != message_id
        ):  # acknowledged under another ID, it would stay forever
            self._reject(message_id, raw)
        else:
            _log.warning("undelivered message requeued", message_id=message_id.decode())
            self.do_requeue(QUEUE, message_id)

    def _reject(self, message_id: bytes, raw: bytes) -> None:
        with self.client.pipeline() as transaction:
            transaction.lpush(self.rejected_key, raw[:MAX_BYTES])
            transaction.ltrim(self.rejected_key, 0, MAX_REJECTED - 1)
            transaction.hdel(self.messages_key, message_id)
            transaction.srem(self.taken_key, message_id)
            transaction.incr(f"{self.rejected_key}.count")
            count = transaction.execute()[-1]
        self._on_rejected()
        _log.error("message rejected", bytes=len(raw), key=self.rejected_key, count=count)

    def _defer(self, message_id: bytes) -> None:
        with self.client.pipeline() as transaction:
            transaction.zadd(self.deferred_key, {message_id: self._clock() + DEFER_SECONDS})
            transaction.srem(self.taken_key, message_id)
            transaction.execute()
        _log.warning("message deferred: its version is newer", message_id=message_id.decode(errors="replace"))


class WaitingConsumer(_RedisConsumer):
    """Waits for a hint or for an acknowledgment where dramatiq's consumer would sleep.

    One thread iterates; other threads acknowledge. Waits only end early: the queue is always fetched afterwards.
    """

    broker: GuardedBroker

    def __init__(self, broker: GuardedBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        """``timeout`` is the limit of each wait, in milliseconds."""
        super().__init__(broker, queue_name, prefetch, timeout=0)  # type: ignore[no-untyped-call]  # 0: the parent never sleeps
        self._max_wait_seconds = timeout / 1000
        self._capacity = threading.Event()

    def __next__(self) -> MessageProxy | None:
        self._capacity.clear()  # before the check for capacity, so that a later acknowledgment ends the wait
        message: MessageProxy | None = super().__next__()  # type: ignore[no-untyped-call]
        if message is None:
            self._wait()
        return message

    def _wait(self) -> None:
        if self.outstanding_message_count >= self.prefetch:
            self._capacity.wait(self._max_wait_seconds)
        elif self.broker.ran_dry:
            self.broker.await_hint(self._max_wait_seconds)

    def ack(self, message: MessageProxy) -> None:
        """Acknowledge as the parent does; even on an error, there is capacity for another message."""
        try:
            super().ack(message)  # type: ignore[no-untyped-call]
        finally:
            self._capacity.set()

    def nack(self, message: MessageProxy) -> None:
        """Like ``ack``."""
        try:
            super().nack(message)  # type: ignore[no-untyped-call]
        finally:
            self._capacity.set()
