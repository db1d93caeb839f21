"""dramatiq's Redis broker, with a guard at its door: no worker is ever handed bytes that were not judged.

- What is none of ours is set aside in a list of the last thousand, counted and logged, and never looked at again.
- What is of a newer version is parked and offered again every few seconds, untouched, until a newer worker takes it.
- What Redis has given to this worker and never arrived here (a connection that broke at the wrong moment) goes back.
- Whoever puts a message on the queue leaves a hint in a list beside it, which wakes one worker that waits there. No
  message depends on it: who is not woken looks by itself, a little later.

dramatiq itself would stop its consumer at the first message that it can't decode, and keep what it had fetched with it;
and what got lost on the way it would keep for as long as the worker lives.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import redis
import structlog
from dramatiq.brokers.redis import RedisBroker

from pixelflow.adapters.queue.envelopes import MAX_BYTES, Classification, classify, kept_as
from pixelflow.adapters.queue.waiting import WaitingConsumer
from pixelflow.contracts.messages import QUEUE

HEARTBEAT_MS = 30_000
"""A worker that is silent for so long is taken for dead, and its messages go back to the queue."""
MAINTENANCE_PER_MILLION = 250_000
"""How often, in a million commands, dead workers are looked for: by a worker that is idle, once a second."""
MAX_REJECTED = 1000
PARKED_SECONDS = 5.0
TIDY_SECONDS = 1.0
"""Between looks for what is parked, and for what was fetched and never arrived."""
_SEND = """
redis.call('hset', KEYS[1], ARGV[1], ARGV[2])
redis.call('rpush', KEYS[2], ARGV[1])
redis.pcall('lpush', KEYS[3], '')
redis.pcall('ltrim', KEYS[3], 0, 0)
"""
"""What dramatiq does, and a hint. One that nobody waits for is kept for who comes next; a second would tell no more."""
_OFFER = """
for _, message_id in ipairs(redis.call('zrangebyscore', KEYS[1], 0, ARGV[1], 'LIMIT', 0, 100)) do
    redis.call('zrem', KEYS[1], message_id)
    redis.call('rpush', KEYS[2], message_id)
end
"""

_log = structlog.get_logger(__name__)


def connect(redis_url: str, *, timeout: float) -> redis.Redis:
    """A client; ``timeout`` is in seconds, of connecting and of every answer."""
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
        rejected: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            client=client, middleware=[], heartbeat_timeout=HEARTBEAT_MS, maintenance_chance=MAINTENANCE_PER_MILLION
        )
        self._classify = classify
        self._clock = clock
        self._rejected = rejected
        self._tidy_at = 0.0
        self._send = client.register_script(_SEND)
        self._offer = client.register_script(_OFFER)
        self.ran_dry = False
        """Whether the latest fetch found the queue empty."""
        self._held: set[str] = set()
        """Ids of messages that arrived here and are not acknowledged."""
        self.declare_queue(QUEUE)

    def declare_queue(self, queue_name: str) -> None:
        """Declare a queue, without its twin for what is to be delayed: when a job is due is in its row."""
        if queue_name not in self.queues:
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)

    @property
    def consumer_class(self) -> type[WaitingConsumer]:
        """What a worker's messages come from."""
        return WaitingConsumer

    @property
    def queue_key(self) -> str:
        """The list of the ids of messages that wait."""
        return f"{self.namespace}:{QUEUE}"

    @property
    def hints_key(self) -> str:
        """The list that idle workers wait at."""
        return f"{self.namespace}:{QUEUE}.hints"

    @property
    def messages_key(self) -> str:
        """The hash that holds messages by id."""
        return f"{self.namespace}:{QUEUE}.msgs"

    @property
    def taken_key(self) -> str:
        """The set of ids that this broker has fetched and not yet acknowledged."""
        return f"{self.namespace}:__acks__.{self.broker_id}.{QUEUE}"

    @property
    def rejected_key(self) -> str:
        """The list of the latest messages that were set aside."""
        return f"{self.namespace}:{QUEUE}.rejected"

    @property
    def parked_key(self) -> str:
        """The ids that wait for a newer worker, by when to offer them again."""
        return f"{self.namespace}:{QUEUE}.parked"

    def do_enqueue(self, queue_name: str, message_id: str, raw: bytes) -> None:  # noqa: ARG002  # there is only one
        """Put a message on the queue, and wake a worker."""
        self._send(keys=[self.messages_key, self.queue_key, self.hints_key], args=[message_id, raw])

    def do_requeue(self, queue_name: str, *message_ids: str | bytes) -> None:
        """Give messages back, and wake as many workers; one at least, for a hint that who leaves may have taken."""
        self._dispatch("requeue")(queue_name, *message_ids)  # type: ignore[no-untyped-call]
        with self.client.pipeline(transaction=False) as hints:  # who waits is woken between the two
            hints.lpush(self.hints_key, *[""] * max(1, len(message_ids)))
            hints.ltrim(self.hints_key, 0, 0)
            hints.execute(raise_on_error=False)

    def await_hint(self, seconds: float) -> None:
        """Wait until there may be a message, and no longer than that."""
        try:
            self.client.blpop([self.hints_key], timeout=seconds)
        except redis.RedisError:  # the next fetch tells what it is, if it is more than the hints
            time.sleep(seconds)

    def do_fetch(self, queue_name: str, count: int) -> list[bytes]:
        """Up to ``count`` messages that a worker of this release can work on."""
        self._tidy()
        fetched: list[bytes | None] = self._dispatch("fetch")(queue_name, count)  # type: ignore[no-untyped-call]
        self.ran_dry = not fetched
        # From here on nothing may fail: what arrived would be lost.
        arrived = [raw for raw in fetched if raw is not None and self._classify(raw) is Classification.TAKE]
        self._held.update(kept_as(raw) for raw in arrived)
        if len(arrived) < len(fetched):
            self._tidy_at = 0.0
        return arrived

    def do_ack(self, queue_name: str, message_id: str) -> None:
        """Let go of a message that is done; one that Redis can't be told of goes back, and is found to be done."""
        try:
            self._dispatch("ack")(queue_name, message_id)  # type: ignore[no-untyped-call]
        finally:
            self._held.discard(message_id)

    def _tidy(self) -> None:
        now = self._clock()
        if now < self._tidy_at:
            return
        self._offer(keys=[self.parked_key, self.queue_key], args=[now])
        self._settle_strays()
        self._tidy_at = now + TIDY_SECONDS

    def _settle_strays(self) -> None:
        """Let go of what Redis has given to this worker and what it does not hold.

        Which those are is asked of Redis: by its content alone, nobody knows under which id a message is kept.
        """
        taken: set[Any] = self.client.smembers(self.taken_key)
        strays = [message_id for message_id in taken if message_id.decode(errors="replace") not in self._held]
        if strays:
            for message_id, raw in zip(strays, self.client.hmget(self.messages_key, strays), strict=True):
                self._settle(message_id, raw)

    def _settle(self, message_id: bytes, raw: bytes | None) -> None:
        if raw is None:  # the second copy of a message that is done
            self.client.srem(self.taken_key, message_id)
            return
        verdict = self._classify(raw)
        if verdict is Classification.LEAVE:
            self._park(message_id)
        elif (
            verdict is Classification.REJECT or kept_as(raw).encode() != message_id
        ):  # by that id nobody could acknowledge it
            self._set_aside(message_id, raw)
        else:
            _log.warning("message had not arrived; given back", message_id=message_id.decode())
            self.do_requeue(QUEUE, message_id)

    def _set_aside(self, message_id: bytes, raw: bytes) -> None:
        with self.client.pipeline() as transaction:
            transaction.lpush(self.rejected_key, raw[:MAX_BYTES])
            transaction.ltrim(self.rejected_key, 0, MAX_REJECTED - 1)
            transaction.hdel(self.messages_key, message_id)
            transaction.srem(self.taken_key, message_id)
            transaction.incr(f"{self.rejected_key}.count")
            count = transaction.execute()[-1]
        self._rejected()
        _log.error("message rejected", bytes=len(raw), key=self.rejected_key, count=count)

    def _park(self, message_id: bytes) -> None:
        with self.client.pipeline() as transaction:
            transaction.zadd(self.parked_key, {message_id: self._clock() + PARKED_SECONDS})
            transaction.srem(self.taken_key, message_id)
            transaction.execute()
        _log.warning("message left to a newer worker", message_id=message_id.decode(errors="replace"))
