"""Connections to Postgres: asynchronous ones for the API and the controller, synchronous ones for the worker.

Connections are in autocommit, so that one statement is one round trip. A use case with several dependent statements
opens ``connection.transaction()``.

Each connection has a tenant scope: its statements can see and write the rows in that scope and no others, even
without a condition. Row-level security in the database enforces it (``0001-baseline.sql``).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self, TypeAlias

import psycopg
from psycopg.adapt import AdaptersMap
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import set_json_loads
from pydantic_core import from_json

from pixelflow.adapters.postgres.connection import (
    ScopedConnection,
    TenantScope,
    TimeLimits,
    is_clean,
    local_settings,
    looks_dead,
    mapped_errors,
)
from pixelflow.adapters.postgres.pool import AsyncPool
from pixelflow.errors import StoreReadOnlyError, StoreUnavailableError

AsyncConnection: TypeAlias = psycopg.AsyncConnection[DictRow]
Connection: TypeAlias = psycopg.Connection[DictRow]

NOBODY = TenantScope("")
EVERYONE = TenantScope("everyone")


def of_user(user_id: str) -> TenantScope:
    """The user's rows."""
    return TenantScope(f"user:{user_id}")


def of_key(key_id: str) -> TenantScope:
    """The row of one API key, whose user is unknown until the row is read."""
    return TenantScope(f"key:{key_id}")


DEFAULT_LIMITS = TimeLimits(statement_seconds=60, lock_seconds=5)
_ACQUIRE_SECONDS = 5.0
_PREPARE_THRESHOLD = 5
"""Uses of a statement before it is prepared (psycopg's default)."""
_HEALTH_CHECK = "health check"
"""The owner of the connection that checks the database: it waits behind no user's requests."""
_KEYWORDS: dict[str, Any] = {
    "autocommit": True,
    "row_factory": dict_row,
    "connect_timeout": 5,
    # A server that becomes unreachable is detected within about 15 s, not within the two hours of TCP's defaults.
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,  # milliseconds
}
_IS_READ_ONLY = "SELECT current_setting('transaction_read_only')::boolean AS read_only"
"""True on a standby, too, and wherever an operator or a full disk's watchdog set ``default_transaction_read_only``."""
_SET_SESSION = """
    SELECT set_config('pixelflow.tenant_scope', %s, false), set_config('statement_timeout', %s, false),
           set_config('lock_timeout', %s, false), set_config('idle_in_transaction_session_timeout', %s, false)
"""


def _keywords(application: str, *, prepare: bool) -> dict[str, Any]:
    threshold = _PREPARE_THRESHOLD if prepare else None
    return {**_KEYWORDS, "application_name": application, "prepare_threshold": threshold, "context": _adapters()}


def _adapters() -> AdaptersMap:
    """psycopg's, with Pydantic's parser of JSON: a job has seven JSON columns, and Python's takes 8 µs for ``[]``."""
    adapters = AdaptersMap(psycopg.adapters)
    set_json_loads(from_json, adapters)
    return adapters


class AsyncDatabase:
    """A pool of asynchronous connections, for the API and the controller."""

    def __init__(
        self,
        url: str,
        *,
        max_connections: int,
        application: str,
        scope: TenantScope = NOBODY,
        share: int | None = None,
        limits: TimeLimits = DEFAULT_LIMITS,
        wait_seconds: float = _ACQUIRE_SECONDS,
        prepare: bool = True,
    ) -> None:
        """Create the pool; it opens no connection yet.

        Args:
            url: URL of the database.
            max_connections: maximum number of connections.
            application: the name of the connections in ``pg_stat_activity``.
            scope: of connections that are requested without one. The API passes a scope with each request; processes
                that act for all users, such as the controller, pass it here.
            share: maximum number of connections that one scope holds at once; ``None``: all.
            limits: of each statement.
            wait_seconds: how long a use waits for a connection that another one holds.
            prepare: whether statements that are sent often are prepared.
        """
        self._url = url
        self._keywords = _keywords(application, prepare=prepare)
        self._scope = scope
        self._limits = limits
        self._pool = AsyncPool(
            self._connect, size=max_connections, share=share or max_connections, wait_seconds=wait_seconds
        )

    async def _connect(self) -> ScopedConnection:
        return await ScopedConnection.connect(self._url, **self._keywords)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def connection(self, scope: TenantScope | None = None, *, owner: str = "") -> AsyncIterator[AsyncConnection]:
        """A connection in autocommit, which can see the rows in ``scope`` and no others.

        ``owner`` has a share of the connections; by default the scope has.

        Raises:
            StoreUnavailableError: no connection was available in time, the connection broke, or a statement took too
                long. ``ResourceBusyError``: it waited too long for a lock. ``StoreReadOnlyError``: the server accepts
                no changes.
        """
        scope = self._scope if scope is None else scope
        with mapped_errors():
            async with self._pool.connection(owner or scope) as connection:
                connection.local_settings = local_settings(scope, self._limits)
                try:
                    yield connection
                except psycopg.errors.ReadOnlySqlTransaction:
                    await self._forget_server(connection)
                    raise

    async def _forget_server(self, connection: ScopedConnection) -> None:
        """Close all connections: after a failover, a new one reaches the server that accepts changes."""
        await connection.close()
        await self._pool.drop_idle()

    async def ping(self) -> None:
        """Check that Postgres answers requests and accepts changes.

        Raises:
            StoreUnavailableError: it does not.
        """
        async with self.connection(owner=_HEALTH_CHECK) as connection:
            cursor = await connection.execute(_IS_READ_ONLY)
            _require_writable(await cursor.fetchone())


class Database:
    """A pool of synchronous connections, for the threads of a worker, which act for all users."""

    def __init__(
        self,
        url: str,
        *,
        max_connections: int,
        application: str,
        limits: TimeLimits = DEFAULT_LIMITS,
        prepare: bool = True,
    ) -> None:
        """As :class:`AsyncDatabase`."""
        self._url = url
        self._keywords = _keywords(application, prepare=prepare)
        self._settings = (EVERYONE, *limits.values)
        self._places = threading.BoundedSemaphore(max_connections)
        self._idle: deque[Connection] = deque()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._drop_idle()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """As :meth:`AsyncDatabase.connection`."""
        with mapped_errors():
            if not self._places.acquire(timeout=_ACQUIRE_SECONDS):
                raise StoreUnavailableError("No connection to the database was free; try again shortly")
            try:
                connection = self._take()
                try:
                    yield connection
                finally:
                    self._put_back(connection)
            finally:
                self._places.release()

    def _take(self) -> Connection:
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread took it
                break
            if not looks_dead(connection.fileno()):
                return connection
            connection.close()
            self._drop_idle()  # what ended one of them, such as a restart, ended all
        made: Connection = psycopg.connect(self._url, **self._keywords)
        made.execute(_SET_SESSION, self._settings)
        return made

    def _put_back(self, connection: Connection) -> None:
        if is_clean(connection) and not self._closed:
            self._idle.append(connection)
        else:
            connection.close()

    def _drop_idle(self) -> None:
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:  # another thread took it
                return

    def ping(self) -> None:
        """As :meth:`AsyncDatabase.ping`."""
        with self.connection() as connection:
            _require_writable(connection.execute(_IS_READ_ONLY).fetchone())


def _require_writable(row: DictRow | None) -> None:
    if row is None or row["read_only"]:
        raise StoreReadOnlyError("The database accepts no changes")
