"""Connections to Postgres: an asynchronous pool for the API and the controller, a synchronous one for the worker.

Connections are in autocommit, so that one statement is one round trip. A use case whose statements must hold together
opens ``connection.transaction()``.

A connection has a reach: the rows that its statements can see and write at all, whatever they ask for. Row-level
security in the database holds it to that (``0004-identity.sql``). No connection is ever handed out with another reach
than the one that it was asked for with.
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

from pixelflow.contracts.errors import StoreUnavailableError

AsyncConnection: TypeAlias = psycopg.AsyncConnection[DictRow]
Connection: TypeAlias = psycopg.Connection[DictRow]

TenantScope = NewType("TenantScope", str)
NOBODY = TenantScope("")
EVERYONE = TenantScope("everyone")


def of_user(user_id: str) -> TenantScope:
    """What is the user's."""
    return TenantScope(f"user:{user_id}")


def of_key(key_id: str) -> TenantScope:
    """The row of one API key, whose user is not known yet."""
    return TenantScope(f"key:{key_id}")


_SET_REACH = "SELECT set_config('pixelflow.reach', %s, false)"
_wanted: ContextVar[TenantScope] = ContextVar("_wanted")
"""For the pool's check, which is called in the asking task but not told what it asks for. Set before every asking."""
_ACQUIRE_SECONDS = 5.0
_KEYWORDS = {
    "autocommit": True,
    "row_factory": dict_row,
    "connect_timeout": 5,
    # A server that is cut off without a word is found out within some 15 s, not in the two hours of TCP's own defaults.
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,  # milliseconds
}


@contextmanager
def _mapped_errors() -> Iterator[None]:
    """The one place where psycopg's «not there» becomes PixelFlow's; errors of statements are bugs and pass."""
    try:
        yield
    except (psycopg.OperationalError, PoolTimeout) as error:
        raise StoreUnavailableError("The database is not available; try again shortly") from error


def _looks_dead(descriptor: int) -> bool:
    """Whether there is something to read on an idle connection: of a server that went away, its goodbye."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


class _ReachingConnection(psycopg.AsyncConnection[DictRow]):
    """Knows what its reach in the database is; ``None``: that is not certain."""

    reach: TenantScope | None = NOBODY


async def _set_reach(connection: _ReachingConnection) -> None:
    """On every way out of the pool. A round trip only where the reach changes, or there is a doubt about the server.

    A question for every use of a connection would double the round trips.
    """
    wanted = _wanted.get()
    if connection.reach == wanted and not _looks_dead(connection.fileno()):
        return
    connection.reach = None
    await connection.execute(_SET_REACH, (wanted,))
    connection.reach = wanted


def _reach_everyone(connection: Connection) -> None:
    connection.execute(_SET_REACH, (EVERYONE,))


def _check(connection: Connection) -> None:
    """Ask the server only where there is a doubt."""
    if _looks_dead(connection.fileno()):
        ConnectionPool.check_connection(connection)


class AsyncDatabase:
    """Postgres, for the API and the controller."""

    def __init__(self, url: str, *, max_connections: int, application: str, reach: TenantScope = NOBODY) -> None:
        """Open nothing yet.

        Args:
            url: of the database.
            max_connections: at most.
            application: by what name Postgres lists them.
            reach: of connections that are asked for without one. The API says whose rows it wants each time; what acts
                for all, such as the controller, says so here.
        """
        self._reach = reach
        self._pool: AsyncConnectionPool[_ReachingConnection] = AsyncConnectionPool(
            url,
            connection_class=_ReachingConnection,
            kwargs={**_KEYWORDS, "application_name": application},
            min_size=1,
            max_size=max_connections,
            timeout=_ACQUIRE_SECONDS,
            check=_set_reach,
            open=False,
        )

    async def __aenter__(self) -> Self:
        await self._pool.open(wait=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def connection(self, reach: TenantScope | None = None) -> AsyncIterator[AsyncConnection]:
        """A connection in autocommit, which sees the rows within ``reach`` and no others.

        Raises:
            StoreUnavailableError: there is none to be had, or it broke.
        """
        with _mapped_errors():
            _wanted.set(self._reach if reach is None else reach)
            async with self._pool.connection() as connection:
                yield connection

    async def ping(self) -> None:
        """Ask Postgres whether it is there.

        Raises:
            StoreUnavailableError: it is not.
        """
        async with self.connection() as connection:
            await connection.execute("SELECT 1")


class Database:
    """Postgres, for the threads of a worker, who acts for everyone."""

    def __init__(self, url: str, *, max_connections: int, application: str) -> None:
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            url,
            kwargs={**_KEYWORDS, "application_name": application},
            min_size=1,
            max_size=max_connections,
            timeout=_ACQUIRE_SECONDS,
            configure=_reach_everyone,
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
