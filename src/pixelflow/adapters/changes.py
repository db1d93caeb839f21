"""Announcements that jobs of a user changed: pub/sub in Redis, which wakes those who wait for a change.

They carry no authority: readers look in Postgres. Any number of announcements may be lost, doubled or forged. A lost
one delays a reader until it looks by itself, about a second later.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

import redis
import redis.asyncio
import structlog
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

CHANNEL = "pixelflow:changes"
MAX_PENDING = 1000
"""Users whose changes wait to be announced; further ones are dropped."""
MAX_MESSAGE_BYTES = 1_000_000
"""Longer announcements are ignored. The longest that is sent, of 1000 user IDs, is shorter."""
PAUSE_SECONDS = 1.0
"""Time without calls to Redis after a failure."""
_TIMEOUT_SECONDS = 0.5
_CLOSE_SECONDS = 1.0
_LISTEN_SECONDS = 5.0
"""Longest wait for a message before the connection is checked."""

_log = structlog.get_logger(__name__)


class ChangeAnnouncer:
    """Announces users whose jobs changed, in a thread of its own; a context manager.

    Users that are announced at the same time share a message.
    """

    def __init__(self, redis_url: str, *, pause: float = PAUSE_SECONDS) -> None:
        """Create the client without connecting; ``pause`` is the time without calls to Redis after a failure."""
        self._client: redis.Redis = redis.Redis.from_url(
            redis_url,
            retry=Retry(NoBackoff(), 1),  # for a connection that broke while idle
            socket_connect_timeout=_TIMEOUT_SECONDS,
            socket_timeout=_TIMEOUT_SECONDS,
        )
        self._pause = pause
        self._pending: set[str] = set()
        self._lock = threading.Lock()
        self._requested = threading.Event()
        self._closed = threading.Event()
        self._is_down = False
        self._thread = threading.Thread(target=self._repeat, name="changes", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Send the last announcements, and close the connection."""
        self._closed.set()
        self._requested.set()
        self._thread.join(_CLOSE_SECONDS)
        self._client.close()

    def announce(self, user_id: str) -> None:
        """Announce soon that a job of the user changed. Call it after the commit. Never raises and never waits."""
        with self._lock:
            if len(self._pending) < MAX_PENDING:
                self._pending.add(user_id)
        self._requested.set()

    def _repeat(self) -> None:
        while not self._closed.is_set():
            self._requested.wait()
            self._requested.clear()
            with self._lock:
                users, self._pending = self._pending, set()
            if users and not self._publish(users):
                self._closed.wait(self._pause)

    def _publish(self, users: Iterable[str]) -> bool:
        try:
            self._client.publish(CHANNEL, json.dumps(sorted(users)))
        except (redis.RedisError, OSError) as error:
            if not self._is_down:
                _log.warning("announcements of changes unavailable", reason=type(error).__name__)
            self._is_down = True
            return False
        if self._is_down:
            _log.info("announcements of changes available again")
        self._is_down = False
        return True


class ChangeListener:
    """Receives announcements in the event loop."""

    def __init__(self, redis_url: str, *, pause: float = PAUSE_SECONDS) -> None:
        """Create the client without connecting; ``pause`` is the time between attempts to connect."""
        self._client = redis.asyncio.Redis.from_url(
            redis_url,
            retry=AsyncRetry(NoBackoff(), 0),
            socket_connect_timeout=_TIMEOUT_SECONDS,
            health_check_interval=_LISTEN_SECONDS,
        )
        self._pause = pause
        self._is_down = False

    async def listen(self, on_users: Callable[[list[str]], None]) -> None:
        """Call ``on_users`` with the users of each announcement, until the task is canceled. Reconnects by itself."""
        try:
            while True:
                try:
                    await self._receive(on_users)
                except (redis.RedisError, OSError, TimeoutError) as error:
                    if not self._is_down:
                        _log.warning("announcements of changes not received", reason=type(error).__name__)
                    self._is_down = True
                    await asyncio.sleep(self._pause)
        finally:
            await self._client.aclose()

    async def _receive(self, on_users: Callable[[list[str]], None]) -> None:
        async with self._client.pubsub() as subscription:
            await subscription.subscribe(CHANNEL)
            while True:
                message = await subscription.get_message(timeout=_LISTEN_SECONDS)
                if self._is_down:
                    _log.info("announcements of changes received again")
                    self._is_down = False
                if message is not None and message["type"] == "message":
                    on_users(parse(message["data"]))


def parse(message: bytes) -> list[str]:
    """Return the users of an announcement; none if it is not valid."""
    if len(message) > MAX_MESSAGE_BYTES:
        return []
    try:
        users = json.loads(message)
    except (ValueError, RecursionError):
        return []
    return [user for user in users if isinstance(user, str)] if isinstance(users, list) else []
