"""Connections to Postgres: an asynchronous pool for the API and the controller, a synchronous one for the worker.

Connections are in autocommit, so that one statement is one round trip. A use case whose statements must hold together
opens ``connection.transaction()``.
"""

from __future__ import annotations

import select
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Self, TypeAlias

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

from pixelflow.contracts.problems import StoreUnavailableError

AsyncConnection: TypeAlias = psycopg.AsyncConnection[DictRow]
Connection: TypeAlias = psycopg.Connection[DictRow]

_ACQUIRE_SECONDS = 5.0
_KEYWORDS = {"autocommit": True, "row_factory": dict_row, "connect_timeout": 5}


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


async def _check_async(connection: AsyncConnection) -> None:
    """Ask the server only where there is a doubt: a question for every use of a connection would double the round trips."""
    if _looks_dead(connection.fileno()):
        await AsyncConnectionPool.check_connection(connection)


def _check(connection: Connection) -> None:
    """As :func:`_check_async`."""
    if _looks_dead(connection.fileno()):
        ConnectionPool.check_connection(connection)


class AsyncDatabase:
    """Postgres, for the API and the controller."""

    def __init__(self, url: str, *, max_connections: int, application: str) -> None:
        self._pool: AsyncConnectionPool[AsyncConnection] = AsyncConnectionPool(
            url,
            kwargs={**_KEYWORDS, "application_name": application},
            min_size=1,
            max_size=max_connections,
            timeout=_ACQUIRE_SECONDS,
            check=_check_async,
            open=False,
        )

    async def __aenter__(self) -> Self:
        await self._pool.open(wait=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """A connection in autocommit.

        Raises:
            StoreUnavailableError: there is none to be had, or it broke.
        """
        with _mapped_errors():
            async with self._pool.connection() as connection:
                yield connection


class Database:
    """Postgres, for the threads of a worker."""

    def __init__(self, url: str, *, max_connections: int, application: str) -> None:
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            url,
            kwargs={**_KEYWORDS, "application_name": application},
            min_size=1,
            max_size=max_connections,
            timeout=_ACQUIRE_SECONDS,
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
