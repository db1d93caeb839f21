"""Servers that no process of PixelFlow is connected to: nobody else moves the rows of these tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from psycopg.rows import dict_row
from tests.acceptance.running import servers_alone

from pixelflow.adapters.store.database import AsyncConnection, Connection, Database
from pixelflow.devstack.stack import Stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Servers of these tests' own."""
    with servers_alone() as opened:
        yield opened


@pytest.fixture
def database_url(stack: Stack) -> str:
    return stack.environment["PIXELFLOW_DATABASE_URL"]


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A connection to empty tables."""
    with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as opened:
        opened.execute("TRUNCATE jobs, attempts, outputs, usage_logs")
        yield opened


@pytest.fixture
async def async_connection(connection: Connection, database_url: str) -> AsyncIterator[AsyncConnection]:
    """One more, asynchronous."""
    del connection  # empties the tables first
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True, row_factory=dict_row) as opened:
        yield opened


@pytest.fixture
def database(connection: Connection, database_url: str) -> Iterator[Database]:
    del connection  # empties the tables first
    with Database(database_url, max_connections=2, application="test") as opened:
        yield opened
