"""What ``pixelflow doctor`` reads of a database."""

from __future__ import annotations

import psycopg
import pytest

from pixelflow.adapters.postgres.migrate import MIGRATIONS
from pixelflow.adapters.postgres.state import read_state
from pixelflow.cli.diagnosis.finding import FindingStatus
from pixelflow.cli.diagnosis.servers import check_service
from pixelflow.errors import StoreUnavailableError
from pixelflow.settings import Settings

ALL = sorted(path.stem for path in MIGRATIONS.glob("*.sql"))


def test_a_migrated_database_lacks_nothing(database_url: str) -> None:
    state = read_state(database_url)
    assert state.version >= 14
    assert state.missing == []


def test_the_servers_of_a_working_installation_are_in_order(quiet: Settings) -> None:
    found = {each.name: each.status for each in check_service(quiet)}
    in_order = dict.fromkeys(("Postgres", "migrations", "Redis", "object storage"), FindingStatus.OK)
    assert found == in_order | {"bucket public": FindingStatus.ABSENT}


def test_migrations_that_are_not_applied_are_listed(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA elsewhere")
        try:
            assert read_state(f"{database_url}?options=-csearch_path%3Delsewhere").missing == ALL
        finally:
            connection.execute("DROP SCHEMA elsewhere")


@pytest.mark.parametrize("url", ["postgresql://a:b@127.0.0.1:1/x", "postgresql:///x?host=/nowhere"])
def test_a_database_that_does_not_answer_raises(url: str) -> None:
    with pytest.raises(StoreUnavailableError):
        read_state(url)
