"""Migrations that are killed, come twice at once, or find a table in use."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from tests.acceptance.running import wait_for
from tests.migration.conftest import ALL, Folder

from pixelflow.adapters.postgres.migrate import migrate
from pixelflow.contracts.errors import StoreUnavailableError

MigratedTo = Callable[[Iterable[str]], str]
INDEX = """-- transactional: false
DROP INDEX CONCURRENTLY IF EXISTS usage_logs_by_pixels;
CREATE INDEX CONCURRENTLY usage_logs_by_pixels ON usage_logs (pixels_processed);
"""
WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE %s
"""
ASKING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE %s"
SCRIPT = """
import sys; from pathlib import Path; from pixelflow.adapters.postgres.migrate import migrate
print(*migrate(sys.argv[1], migrations=Path(sys.argv[2])))
"""


def stems(names: Iterable[str]) -> list[str]:
    return [name.removesuffix(".sql") for name in names]


@pytest.fixture
def with_index(folder_of: Folder) -> Path:
    """All migrations, and one that builds an index while everybody goes on."""
    folder = folder_of(ALL)
    (folder / "9999-index.sql").write_text(INDEX, encoding="utf-8")
    return folder


@pytest.fixture
def migrating() -> Iterator[Callable[[str, Path], subprocess.Popen[str]]]:
    """Migrates in a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(url: str, folder: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", SCRIPT, url, str(folder)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@contextmanager
def held(url: str, statement: str) -> Iterator[psycopg.Connection]:
    """A transaction that has done this and does not end."""
    with psycopg.connect(url, options="-c pixelflow.reach=everyone") as holder:
        holder.execute(statement)
        yield holder
        holder.rollback()


def count(url: str, query: str, values: tuple[str, ...] = ()) -> int:
    with psycopg.connect(url, autocommit=True) as eye:
        row = eye.execute(query, values).fetchone()
    assert row
    return int(row[0])


def is_waiting(url: str, statement: str) -> bool:
    return count(url, WAITING, (f"%{statement}%",)) > 0


@pytest.mark.parametrize(
    ("statement", "waits_in"),
    [
        ("SELECT count(*) FROM jobs", "ALTER TABLE jobs"),
        ("LOCK TABLE schema_migrations IN SHARE MODE", "INSERT INTO"),
    ],
    ids=["in the middle of a file", "between a file and its record"],
)
def test_a_migration_that_was_killed_is_completed_by_the_next_run(
    migrated_to: MigratedTo,
    folder_of: Folder,
    migrating: Callable[[str, Path], subprocess.Popen[str]],
    statement: str,
    waits_in: str,
) -> None:
    url = migrated_to(ALL[:1])
    with held(url, statement):
        process = migrating(url, folder_of(ALL[:5]))
        wait_for(lambda: is_waiting(url, waits_in), 20)
        process.kill()
    assert migrate(url) == stems(ALL[1:])
    assert migrate(url) == []


def test_an_index_whose_building_was_killed_is_built_by_the_next_run(
    migrated_to: MigratedTo, with_index: Path, migrating: Callable[[str, Path], subprocess.Popen[str]]
) -> None:
    url = migrated_to(ALL)
    is_there = "SELECT count(*) FROM pg_index WHERE indexrelid::regclass::text = 'usage_logs_by_pixels'"
    with held(url, "INSERT INTO usage_logs VALUES (gen_random_uuid(), 'u', 1, 1, 1)"):
        process = migrating(url, with_index)
        wait_for(lambda: is_waiting(url, "CREATE INDEX CONCURRENTLY"), 20)
        process.kill()
        wait_for(lambda: not is_waiting(url, "CREATE INDEX CONCURRENTLY"), 20)
    assert count(url, f"{is_there} AND NOT indisvalid") == 1, "what a killed one leaves"
    assert migrate(url, migrations=with_index) == ["9999-index"]
    assert count(url, f"{is_there} AND indisvalid") == 1


def test_of_two_at_once_one_applies_what_is_missing(
    url: str, folder_of: Folder, migrating: Callable[[str, Path], subprocess.Popen[str]]
) -> None:
    folder = folder_of(ALL)
    told = [process.communicate(timeout=60)[0].split() for process in [migrating(url, folder) for _ in range(2)]]
    assert sorted(told) == [[], stems(ALL)]


def test_a_twin_who_waits_does_not_keep_an_index_from_being_built(
    migrated_to: MigratedTo, with_index: Path, migrating: Callable[[str, Path], subprocess.Popen[str]]
) -> None:
    url = migrated_to(ALL)
    with held(url, "INSERT INTO usage_logs VALUES (gen_random_uuid(), 'u', 1, 1, 1)"):
        first = migrating(url, with_index)
        wait_for(lambda: is_waiting(url, "CREATE INDEX CONCURRENTLY"), 20)
        second = migrating(url, with_index)
        wait_for(lambda: count(url, ASKING, ("%advisory_lock%",)) > 0, 20)
    assert [process.communicate(timeout=30)[0].split() for process in (first, second)] == [["9999-index"], []]


def test_nobody_waits_behind_a_migration_that_waits(
    migrated_to: MigratedTo, folder_of: Folder, migrating: Callable[[str, Path], subprocess.Popen[str]]
) -> None:
    url = migrated_to(ALL[:3])
    with held(url, "SELECT count(*) FROM jobs"), psycopg.connect(url, autocommit=True) as other:
        process = migrating(url, folder_of(ALL))
        wait_for(lambda: is_waiting(url, "jobs"), 20)
        other.execute("SET statement_timeout = '10s'")
        for _ in range(3):
            other.execute("SELECT count(*) FROM jobs")
        assert process.poll() is None
    assert process.communicate(timeout=60)[0].split() == stems(ALL[3:])


def test_a_table_that_is_in_use_for_too_long_is_told_and_what_was_applied_stays(migrated_to: MigratedTo) -> None:
    url = migrated_to(ALL[:2])
    with held(url, "SELECT count(*) FROM jobs"), pytest.raises(StoreUnavailableError, match="in use for too long"):
        migrate(url, patience=0)
    assert migrate(url) == stems(ALL[3:])
