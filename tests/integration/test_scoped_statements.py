"""A statement and its settings are one transaction and one round trip, and leave a connection that is usable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from pixelflow.adapters.postgres.connection import is_clean
from pixelflow.adapters.postgres.database import AsyncConnection, AsyncDatabase, of_user

_SCOPE = "SELECT current_setting('pixelflow.tenant_scope') AS scope"
_OWN = {"scope": "user:u"}


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[AsyncConnection]:
    database = AsyncDatabase(database_url, max_connections=1, application="test")
    async with database, database.connection(of_user("u")) as opened:
        yield opened


async def _scope(connection: AsyncConnection) -> dict[str, Any] | None:
    return await (await connection.execute(_SCOPE)).fetchone()


async def test_a_statement_has_the_settings_however_it_is_executed(connection: AsyncConnection) -> None:
    for _ in range(9):  # from the sixth time on, it is prepared
        assert await _scope(connection) == _OWN
    async with connection.transaction():
        assert await _scope(connection) == _OWN
    assert connection.pgconn.exec_(_SCOPE.encode()).get_value(0, 0) == b""


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("SELECT 1/0", psycopg.errors.DivisionByZero),
        ("SELECT FROM no_such_table", psycopg.errors.UndefinedTable),
        ("SELECT %s", psycopg.ProgrammingError),
        ("SELECT 1; SELECT 2", psycopg.errors.SyntaxError),
    ],
)
async def test_a_failed_statement_leaves_a_clean_connection(
    connection: AsyncConnection, statement: str, error: type[Exception]
) -> None:
    for _ in range(9):
        with pytest.raises(error):
            await connection.execute(statement, () if "%s" in statement else None)
        assert is_clean(connection)
    assert await _scope(connection) == _OWN


async def test_a_failed_setting_prevents_the_statement(connection: AsyncConnection) -> None:
    connection.local_settings = [b"user:u", b"no number", b"1", b"1"]  # type: ignore[attr-defined]
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        await connection.execute("SELECT set_config('pixelflow.tenant_scope', 'everyone', false)")
    assert connection.pgconn.exec_(_SCOPE.encode()).get_value(0, 0) == b""


async def test_a_canceled_statement_has_ended(connection: AsyncConnection) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await connection.execute("SELECT pg_sleep(60)")
    assert is_clean(connection)
    assert await _scope(connection) == _OWN


async def test_large_parameters_and_results_pass(connection: AsyncConnection) -> None:
    cursor = await connection.execute("SELECT %s::text AS text FROM generate_series(1, 3)", ("x" * 5_000_000,))
    assert [len(row["text"]) for row in await cursor.fetchall()] == [5_000_000] * 3


async def test_json_is_parsed_as_python_parses_it(connection: AsyncConnection) -> None:
    text = r'{"a": [1, 1.0, -0.5e3, true, null, "é\u00e9\n"], "b": 123456789012345678901234567890}'
    cursor = await connection.execute("SELECT %s::jsonb AS j", (text,))
    row = await cursor.fetchone()
    assert row is not None
    assert row["j"] == {"a": [1, 1.0, -500, True, None, "éé\n"], "b": 123456789012345678901234567890}
    assert [type(each) for each in row["j"]["a"][:3]] == [int, float, int]
