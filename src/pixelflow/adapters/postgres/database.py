"""Connections to Postgres: an asynchronous pool for the API and the controller, a synchronous one for the worker.

Connections are in autocommit, so that one statement is one round trip. A use case with several dependent statements
opens ``connection.transaction()``.

Each connection has a tenant scope: its statements can see and write the rows in that scope and no others, even
without a condition. Row-level security in the database enforces it (``0001-baseline.sql``). A pool must never return a
connection with another scope than the requested one.
"""

from __future__ import annotations

import select
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import NewType, Self, TypeAlias

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

from pixelflow.errors import StoreUnavailableError

AsyncConnection: TypeAlias = psycopg.AsyncConnection[DictRow]
Connection: TypeAlias = psycopg.Connection[DictRow]

TenantScope = NewType("TenantScope", str)
NOBODY = TenantScope("")
EVERYONE = TenantScope("everyone")


def of_user(user_id: str) -> TenantScope:
    """The user's rows."""
    return TenantScope(f"user:{user_id}")


def of_key(key_id: str) -> TenantScope:
    """The row of one API key, whose user is unknown until the row is read."""
    return TenantScope(f"key:{key_id}")


_LIMIT_TRANSACTIONS = "SET idle_in_transaction_session_timeout = '10s'"
"""The server ends a transaction of a process that is frozen or cut off, whose locks would stop other processes."""
_SET_SCOPE = "SELECT set_config('pixelflow.tenant_scope', %s, false)"
_requested_scope: ContextVar[TenantScope] = ContextVar("_requested_scope")
"""For the pool's check, which runs in the task that requests a connection but has no parameter for it."""
_ACQUIRE_SECONDS = 5.0
_KEYWORDS = {
    "autocommit": True,
    "row_factory": dict_row,
    "connect_timeout": 5,
    # A server that becomes unreachable is detected within about 15 s, not within the two hours of TCP's defaults.
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,  # milliseconds
}


@contextmanager
def _mapped_errors() -> Iterator[None]:
    """Map psycopg's connection errors to StoreUnavailableError; errors of statements are bugs and pass through."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout, PoolTimeout) as error:
        raise StoreUnavailableError("The database is not available; try again shortly") from error


def _looks_dead(descriptor: int) -> bool:
    """Whether an idle connection has data to read, such as the final message of a server that shut down."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


class _ScopedConnection(psycopg.AsyncConnection[DictRow]):
    """Records its tenant scope on the server; ``None``: unknown."""

    scope: TenantScope | None = NOBODY


async def _set_scope(connection: _ScopedConnection) -> None:
    """Set the requested scope on a connection that leaves the pool.

    Sends a statement only if the scope changes or the connection may be dead; one per use would double the round trips.
    """
    requested = _requested_scope.get()
    if connection.scope == requested and not _looks_dead(connection.fileno()):
        return
    connection.scope = None
    await connection.execute(_SET_SCOPE, (requested,))
    connection.scope = requested


async def _limit_transactions(connection: _ScopedConnection) -> None:
    await connection.execute(_LIMIT_TRANSACTIONS)


def _configure_worker(connection: Connection) -> None:
    connection.execute(_LIMIT_TRANSACTIONS)
    connection.execute(_SET_SCOPE, (EVERYONE,))


def _check(connection: Connection) -> None:
    """Send a statement only if the connection may be dead."""
    if _looks_dead(connection.fileno()):
        ConnectionPool.check_connection(connection)


class AsyncDatabase:
    """A pool of asynchronous connections, for the API and the controller."""

    def __init__(self, url: str, *, max_connections: int, application: str, scope: TenantScope = NOBODY) -> None:
        """Create the pool; it opens no connection yet.

        Args:
            url: URL of the database.
            max_connections: maximum number of connections.
            application: the name of the connections in ``pg_stat_activity``.
            scope: of connections that are requested without one. The API passes a scope with each request; processes
                that act for all users, such as the controller, pass it here.
        """
        self._scope = scope
        self._pool: AsyncConnectionPool[_ScopedConnection] = AsyncConnectionPool(
            url,
            connection_class=_ScopedConnection,
            kwargs={**_KEYWORDS, "application_name": application},
            min_size=1,
            max_size=max_connections,
            timeout=_ACQUIRE_SECONDS,
            configure=_limit_transactions,
            check=_set_scope,
            open=False,
        )

    async def __aenter__(self) -> Self:
        await self._pool.open(wait=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def connection(self, scope: TenantScope | None = None) -> AsyncIterator[AsyncConnection]:
        """A connection in autocommit, which can see the rows in ``scope`` and no others.

        Raises:
            StoreUnavailableError: no connection was available in time, or the connection broke.
        """
        with _mapped_errors():
            _requested_scope.set(self._scope if scope is None else scope)
            async with self._pool.connection() as connection:
                yield connection

    async def ping(self) -> None:
        """Check that Postgres answers.

        Raises:
            StoreUnavailableError: it does not.
        """
        async with self.connection() as connection:
            await connection.execute("SELECT 1")


class Database:
    """A pool of synchronous connections, for the threads of a worker, which act for all users."""

    def __init__(self, url: str, *, max_connections: int, application: str) -> None:
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            url,
            kwargs={**_KEYWORDS, "application_name": application},
            min_size=1,
            max_size=max_connections,
            timeout=_ACQUIRE_SECONDS,
            configure=_configure_worker,
            check=_check,
            open=False,
        )

    def __enter__(self) -> Self:
        self._pool.open(wait=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """As :meth:`AsyncDatabase.connection`."""
        with _mapped_errors(), self._pool.connection() as connection:
            yield connection

    def ping(self) -> None:
        """As :meth:`AsyncDatabase.ping`."""
        with self.connection() as connection:
            connection.execute("SELECT 1")
