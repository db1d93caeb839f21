"""Servers without any process of PixelFlow, so that nothing else changes the rows of these tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from psycopg.rows import dict_row
from tests.acceptance.running import servers_alone

from pixelflow.adapters.postgres.database import EVERYONE, AsyncConnection, AsyncDatabase, Connection, Database
from pixelflow.devstack.stack import Stack
from pixelflow.settings import Settings

FOR_ALL_USERS = "-c pixelflow.tenant_scope=everyone"


@pytest.fixture(scope="session")
def quiet_stack() -> Iterator[Stack]:
    """Servers that only these tests use."""
    with servers_alone() as opened:
        yield opened


@pytest.fixture(scope="session")
def quiet(quiet_stack: Stack) -> Settings:
    """Settings for those servers."""
    values = {name.removeprefix("PIXELFLOW_").lower(): value for name, value in quiet_stack.environment.items()}
    return Settings.model_validate(values)


@pytest.fixture
def database_url(quiet_stack: Stack) -> str:
    return quiet_stack.environment["PIXELFLOW_DATABASE_URL"]


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A connection to empty tables."""
    with psycopg.connect(database_url, autocommit=True, row_factory=dict_row, options=FOR_ALL_USERS) as opened:
        opened.execute(
            "TRUNCATE jobs, usage_logs, failed_usage, queue_lanes, queue_shares, workers, controller_leases CASCADE"
        )
        yield opened


@pytest.fixture
async def async_connection(connection: Connection, database_url: str) -> AsyncIterator[AsyncConnection]:
    """A second, asynchronous connection."""
    del connection  # the fixture empties the tables first
    async with await psycopg.AsyncConnection.connect(
        database_url, autocommit=True, row_factory=dict_row, options=FOR_ALL_USERS
    ) as opened:
        yield opened


@pytest.fixture
def database(connection: Connection, database_url: str) -> Iterator[Database]:
    """A worker's database."""
    del connection  # the fixture empties the tables first
    with Database(database_url, max_connections=2, application="test") as opened:
        yield opened


@pytest.fixture
async def async_database(database_url: str) -> AsyncIterator[AsyncDatabase]:
    """The controller's database."""
    async with AsyncDatabase(database_url, max_connections=4, application="test", scope=EVERYONE) as opened:
        yield opened
