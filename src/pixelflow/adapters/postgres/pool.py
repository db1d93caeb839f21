"""A pool of asynchronous connections, divided fairly among users.

The request that needs a connection makes it, so a request that follows an outage never waits for the schedule of a
background task, and one during an outage fails as soon as the server refuses.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from pixelflow.adapters.fair_semaphore import FairSemaphore
from pixelflow.adapters.postgres.connection import ScopedConnection, is_clean, looks_dead
from pixelflow.errors import StoreUnavailableError

MAX_AGE_SECONDS = 3600.0
"""A connection is replaced after this time: the memory of its server process grows with the statements it caches."""


class AsyncPool:
    """Connections that are made when they are needed, and reused."""

    def __init__(
        self, connect: Callable[[], Awaitable[ScopedConnection]], *, size: int, share: int, wait_seconds: float
    ) -> None:
        """Create the pool; it opens no connection yet.

        Args:
            connect: opens a connection.
            size: maximum number of connections.
            share: maximum number that one owner holds at once.
            wait_seconds: how long a request waits for a connection that another one uses.
        """
        self._connect = connect
        self._places = FairSemaphore(size, share=share)
        self._wait_seconds = wait_seconds
        self._idle: deque[tuple[float, ScopedConnection]] = deque()
        self._closed = False

    @asynccontextmanager
    async def connection(self, owner: str) -> AsyncIterator[ScopedConnection]:
        """A connection that no one else uses.

        Raises:
            StoreUnavailableError: all places, or those of ``owner``, were in use for too long.
            psycopg.OperationalError: the server can't be reached.
        """
        try:
            await self._places.acquire(owner, seconds=self._wait_seconds)
        except TimeoutError as error:
            raise StoreUnavailableError("No connection to the database was free; try again shortly") from error
        try:
            made_at, connection = await self._take()
            try:
                yield connection
            finally:
                await self._put_back(made_at, connection)
        finally:
            self._places.release(owner)

    async def _take(self) -> tuple[float, ScopedConnection]:
        while self._idle:
            made_at, connection = self._idle.pop()
            if not looks_dead(connection.fileno()):
                return made_at, connection
            await connection.close()
            await self.drop_idle()  # what ended one of them, such as a restart, ended all
        return time.monotonic(), await self._connect()

    async def _put_back(self, made_at: float, connection: ScopedConnection) -> None:
        if not self._closed and time.monotonic() - made_at < MAX_AGE_SECONDS and is_clean(connection):
            self._idle.append((made_at, connection))
        else:
            await connection.close()

    async def drop_idle(self) -> None:
        """Close all connections that are not in use."""
        while self._idle:
            _, connection = self._idle.pop()
            await connection.close()

    async def close(self) -> None:
        """Close all connections; those in use are closed when they come back."""
        self._closed = True
        await self.drop_idle()
