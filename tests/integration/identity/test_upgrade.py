"""Migrates a database from before scopes and row-level security existed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.support.databases import new_database

from pixelflow.adapters.postgres.migrate import MIGRATIONS, migrate
from pixelflow.contracts.keys import DEFAULT_SCOPES
from pixelflow.devstack.stack import Stack

BEFORE = ("0001-jobs.sql", "0002-runs-and-events.sql", "0003-deliveries.sql")


@pytest.fixture
def old_database(stack: Stack, tmp_path: Path) -> Iterator[str]:
    for file in BEFORE:
        (tmp_path / file).write_text((MIGRATIONS / file).read_text(encoding="utf-8"), encoding="utf-8")
    with new_database(stack) as url:
        migrate(url, migrations=tmp_path)
        yield url


def test_existing_keys_get_all_scopes_except_admin(old_database: str) -> None:
    with psycopg.connect(old_database, autocommit=True) as connection:
        connection.execute("INSERT INTO api_keys (key_id, user_id, name, secret_hash) VALUES ('k', 'u', 'n', 'x')")
    assert migrate(old_database)
    with psycopg.connect(old_database, autocommit=True) as connection:
        assert connection.execute("SELECT 1 FROM api_keys").fetchall() == []
        connection.execute("SET pixelflow.reach = 'everyone'")
        [(scopes,)] = connection.execute("SELECT scopes FROM api_keys").fetchall()
    assert set(scopes) == DEFAULT_SCOPES
