"""dramatiq's Redis broker, with a guard at its door: no worker is ever handed bytes that were not judged.

- What is none of ours is set aside in a list of the last thousand, counted and logged, and never looked at again.
- What is of a newer version is parked and offered again every few seconds, untouched, until a newer worker takes it.

dramatiq itself would stop its consumer at the first message that it can't decode, and keep what it had fetched with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import redis
import structlog
from dramatiq.brokers.redis import RedisBroker

from pixelflow.adapters.queue.envelopes import MAX_BYTES, Verdict, judge
from pixelflow.contracts.messages import QUEUE

HEARTBEAT_MS = 30_000
"""A worker that is silent for so long is taken for dead, and its messages go back to the queue."""
MAINTENANCE_PER_MILLION = 100_000
"""How often, in a million commands, dead workers are looked for."""
MAX_REJECTED = 1000
PARKED_SECONDS = 5.0

_log = structlog.get_logger(__name__)


def connect(redis_url: str, *, timeout: float) -> redis.Redis:
    """A client; ``timeout`` is in seconds, of connecting and of every answer."""
    client: redis.Redis = redis.Redis.from_url(
        redis_url, socket_timeout=timeout, socket_connect_timeout=timeout, health_check_interval=15
    )
    return client


class GuardedBroker(RedisBroker):
    """The broker, without dramatiq's middleware: retries, time limits and results are rows in Postgres."""

    def __init__(self, client: redis.Redis, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            client=client, middleware=[], heartbeat_timeout=HEARTBEAT_MS, maintenance_chance=MAINTENANCE_PER_MILLION
        )
        self._clock = clock
        self._unpark_at = 0.0
        self.declare_queue(QUEUE)

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

    def do_fetch(self, queue_name: str, count: int) -> list[bytes]:
        """Up to ``count`` messages that a worker of this release can work on."""
        self._offer_parked()
        fetched: list[bytes | None] = self._dispatch("fetch")(queue_name, count)  # type: ignore[no-untyped-call]
        taken = [raw for raw in fetched if raw is not None and judge(raw) is Verdict.TAKE]
        if len(taken) < len(fetched):
            self._put_away_the_rest()
        return taken

    def _put_away_the_rest(self) -> None:
        """Let go of what was fetched and is not to be worked on; which that is, is asked of Redis by content."""
        ids: list[Any] = list(self.client.smembers(self.taken_key))
        for message_id, raw in zip(ids, self.client.hmget(self.messages_key, ids), strict=True):
            verdict = judge(raw) if raw is not None else None
            if verdict is None:  # the second copy of a message that is done
                self.client.srem(self.taken_key, message_id)
            elif verdict is Verdict.REJECT:
                self._set_aside(message_id, raw)
            elif verdict is Verdict.LEAVE:
                self._park(message_id)

    def _set_aside(self, message_id: bytes, raw: bytes) -> None:
        with self.client.pipeline() as transaction:
            transaction.lpush(self.rejected_key, raw[:MAX_BYTES])
            transaction.ltrim(self.rejected_key, 0, MAX_REJECTED - 1)
            transaction.hdel(self.messages_key, message_id)
            transaction.srem(self.taken_key, message_id)
            transaction.execute()
        _log.error("message rejected", bytes=len(raw), key=self.rejected_key)

    def _park(self, message_id: bytes) -> None:
        with self.client.pipeline() as transaction:
            transaction.zadd(self.parked_key, {message_id: self._clock() + PARKED_SECONDS})
            transaction.srem(self.taken_key, message_id)
            transaction.execute()
        _log.warning("message left to a newer worker", message_id=message_id.decode(errors="replace"))

    def _offer_parked(self) -> None:
        now = self._clock()
        if now < self._unpark_at:
            return
        self._unpark_at = now + 1.0
        due: list[Any] = self.client.zrangebyscore(self.parked_key, 0, now)
        for message_id in due:
            if self.client.zrem(self.parked_key, message_id):  # else a twin was faster
                self.client.rpush(f"{self.namespace}:{QUEUE}", message_id)
