"""A database from before there were scopes and guards, brought up to date."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from pixelflow.adapters.store.migrate import MIGRATIONS, migrate
from pixelflow.contracts.keys import EVERYDAY
from pixelflow.devstack.postgres import ADMIN, ROLE
from pixelflow.devstack.stack import Stack

BEFORE = ("0001-jobs.sql", "0002-runs-and-events.sql", "0003-deliveries.sql")


@pytest.fixture
def old_database(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Its URL; its owner is no superuser, as the owner of a managed database is none."""
    url = urlsplit(stack.environment["PIXELFLOW_DATABASE_URL"])
    name = f"upgrade_{uuid4().hex}"
    password = stack.home.secrets["postgres_admin"]
    with psycopg.connect(
        host=url.hostname, port=url.port, user=ADMIN, password=password, dbname="postgres", autocommit=True
    ) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(ROLE)))
        old = url._replace(path=f"/{name}").geturl()
        for file in BEFORE:
            (tmp_path / file).write_text((MIGRATIONS / file).read_text(encoding="utf-8"), encoding="utf-8")
        with monkeypatch.context() as patch:
            patch.setattr("pixelflow.adapters.store.migrate.MIGRATIONS", tmp_path)
            migrate(old)
        yield old
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def test_keys_from_before_may_do_all_but_administer(old_database: str) -> None:
    with psycopg.connect(old_database, autocommit=True) as connection:
        connection.execute("INSERT INTO api_keys (key_id, user_id, name, secret_hash) VALUES ('k', 'u', 'n', 'x')")
    assert migrate(old_database)
    with psycopg.connect(old_database, autocommit=True) as connection:
        assert connection.execute("SELECT 1 FROM api_keys").fetchall() == []
        connection.execute("SET pixelflow.reach = 'everyone'")
        [(scopes,)] = connection.execute("SELECT scopes FROM api_keys").fetchall()
    assert set(scopes) == EVERYDAY
