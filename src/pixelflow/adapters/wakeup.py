"""Wake-ups: a list in Redis on which idle workers wait. They carry no authority: Postgres is the queue.

Any number of wake-ups may be lost, doubled or forged. A lost one delays a job until a worker looks by itself, about a
second later; any other costs a claim that finds nothing. Their content is a message of
:mod:`pixelflow.contracts.messages`, for programs beside PixelFlow; workers ignore it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context
from threading import Event
from types import TracebackType
from typing import Self

import redis
import redis.asyncio
import structlog
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from pixelflow.contracts.messages import QUEUE, ProcessImage
from pixelflow.errors import QueueUnavailableError

KEY = f"pixelflow:wakeups:{QUEUE}"
"""The list: newest first."""
MAX_WAKEUPS = 1000
"""Wake-ups in the list; older ones are dropped."""
EXPIRY_SECONDS = 60
SEND_TIMEOUT_SECONDS = 0.05
"""Maximum time of a round trip. No request waits for it."""
PAUSE_SECONDS = 1.0
"""Time without calls to Redis after a failure."""
_SLACK_SECONDS = 0.3
"""Time for Redis to respond, beyond the time that it was asked to wait."""

_log = structlog.get_logger(__name__)


class WakeUpSender:
    """Sends wake-ups in the background of the event loop; an asynchronous context manager, which sends the last ones.

    Wake-ups that are requested at the same time share a round trip. After a failure none is sent for a short pause.
    """

    def __init__(self, redis_url: str, *, timeout: float = SEND_TIMEOUT_SECONDS, pause: float = PAUSE_SECONDS) -> None:
        """Create the client without connecting.

        Args:
            redis_url: the Redis with the list.
            timeout: seconds for one round trip, including the connect.
            pause: seconds without wake-ups after a failure.
        """
        # One retry, for connections that broke while idle.
        self._client = redis.asyncio.Redis.from_url(
            redis_url, retry=AsyncRetry(NoBackoff(), 1), socket_timeout=PAUSE_SECONDS
        )
        self._timeout = timeout
        self._pause = pause
        self._pending: deque[str] = deque(maxlen=MAX_WAKEUPS)
        self._sending: asyncio.Task[None] | None = None
        self._is_down = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sending is not None:
            await asyncio.wait({self._sending}, timeout=self._timeout)
            self._sending.cancel()
            await asyncio.wait({self._sending}, timeout=PAUSE_SECONDS)  # else its connection would stay open
        await self._client.aclose()

    def send(self, message: ProcessImage) -> None:
        """Wake an idle worker soon. Never raises and never waits: requires a running event loop."""
        self._pending.append(message.model_dump_json(by_alias=True))
        if self._sending is None or self._sending.done():
            # In a context of its own, so that log events don't name the request that happened to start the task.
            self._sending = asyncio.create_task(self._send_pending(), context=Context())

    async def _send_pending(self) -> None:
        while self._pending:
            contents = list(self._pending)
            self._pending.clear()
            try:
                async with asyncio.timeout(self._timeout):
                    await self._push(contents)
            except (redis.RedisError, OSError, TimeoutError) as error:
                if not self._is_down:
                    _log.warning("wake-ups unavailable", reason=type(error).__name__)
                self._is_down = True
                await asyncio.sleep(self._pause)
            else:
                if self._is_down:
                    _log.info("wake-ups available again")
                self._is_down = False

    async def _push(self, contents: list[str]) -> None:
        async with self._client.pipeline(transaction=False) as pipeline:
            pipeline.lpush(KEY, *contents)
            pipeline.ltrim(KEY, 0, MAX_WAKEUPS - 1)
            pipeline.expire(KEY, EXPIRY_SECONDS)
            await pipeline.execute()

    async def ping(self) -> None:
        """Check the connection.

        Raises:
            QueueUnavailableError: Redis does not answer.
        """
        try:
            async with asyncio.timeout(PAUSE_SECONDS):
                await self._client.ping()
        except (redis.RedisError, OSError, TimeoutError) as error:
            raise QueueUnavailableError("Redis is not available") from error


class WakeUpWaiter:
    """Waits for wake-ups in one thread of a worker, passes them on from any thread; a context manager."""

    def __init__(self, redis_url: str, *, pause: float = PAUSE_SECONDS) -> None:
        """Create the client without connecting; ``pause`` is the time without calls to Redis after a failure."""
        self._client = _connect(redis_url, timeout=PAUSE_SECONDS + _SLACK_SECONDS)
        self._prober = _connect(redis_url, timeout=_SLACK_SECONDS)
        self._pause = pause
        self._is_down = False
        self._took_any = False
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_closed = True  # a thread may still be waiting: closing its connection is no failure of Redis
        self._client.close()
        self._prober.close()

    def wait(self, seconds: float, stop: Event) -> None:
        """Wait for a wake-up, at most ``seconds`` (up to ``PAUSE_SECONDS``), and take all others from the list.

        While Redis is unavailable, wait for ``stop`` instead. The caller claims afterwards in any case: it sees every
        job whose wake-up was taken, because a job is committed before its wake-up is sent.
        """
        if self._is_down and stop.wait(min(seconds, self._pause)):
            return
        with self._recorded_failures():
            if self._is_down:  # it has waited, so this only probes Redis, and for a shorter time
                self._prober.ping()
            elif self._pop_all(seconds):
                self._took_any = True

    def _pop_all(self, seconds: float) -> bool:
        """Wait for a wake-up and empty the list in one round trip: Redis runs the second command after the wait."""
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.brpop([KEY], timeout=seconds)
            pipeline.ltrim(KEY, 1, 0)
            popped, _ = pipeline.execute()
        return popped is not None

    def pass_on(self) -> None:
        """Wake another worker, if this one took wake-ups and now has no free place: it may have left jobs behind."""
        if self._took_any and not self._is_down:
            self._took_any = False
            with self._recorded_failures():
                self._prober.lpush(KEY, "")

    @contextmanager
    def _recorded_failures(self) -> Iterator[None]:
        try:
            yield
        except (redis.RedisError, OSError, ValueError) as error:
            if not (self._is_down or self._is_closed):
                _log.warning("wake-ups unavailable", reason=type(error).__name__)
            self._is_down = True
            for client in (self._client, self._prober):  # another thread may be waiting on a connection in use
                client.connection_pool.disconnect(inuse_connections=False)
        else:
            if self._is_down:
                _log.info("wake-ups available again")
            self._is_down = False


def _connect(redis_url: str, *, timeout: float) -> redis.Redis:
    """Return a client that waits at most ``timeout`` seconds for a reply, and never repeats a command."""
    client: redis.Redis = redis.Redis.from_url(
        redis_url, retry=Retry(NoBackoff(), 0), socket_connect_timeout=_SLACK_SECONDS, socket_timeout=timeout
    )
    return client
