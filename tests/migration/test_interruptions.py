"""Migrations that are killed, run concurrently, fail, or need a table that is in use."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from tests.acceptance.running import wait_for
from tests.migration.conftest import ALL, MakeFolder

from pixelflow.adapters.postgres.migrate import migrate
from pixelflow.errors import StoreUnavailableError

MigratedTo = Callable[[Iterable[str]], str]
CREATE_TABLE = "CREATE TABLE tags (job_id uuid PRIMARY KEY);"
ALTER_TABLE = "ALTER TABLE jobs ADD COLUMN region text;"
CREATE_INDEX = """-- transactional: false
DROP INDEX CONCURRENTLY IF EXISTS usage_logs_by_pixels;
CREATE INDEX CONCURRENTLY usage_logs_by_pixels ON usage_logs (pixels_processed);
"""
MORE = ["9001-tags", "9002-region"]
WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE %s
"""
RUNNING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE %s"
SCRIPT = """
import sys; from pathlib import Path; from pixelflow.adapters.postgres.migrate import migrate
print(*migrate(sys.argv[1], migrations=Path(sys.argv[2])))
"""


def stems(names: Iterable[str]) -> list[str]:
    return [name.removesuffix(".sql") for name in names]


@pytest.fixture
def with_more(folder_of: MakeFolder) -> Path:
    """All migrations, one that creates a table, and one that alters a table."""
    return folder_of(ALL, _9001_tags=CREATE_TABLE, _9002_region=ALTER_TABLE)


@pytest.fixture
def with_index(folder_of: MakeFolder) -> Path:
    """All migrations, and one that builds an index concurrently."""
    return folder_of(ALL, _9999_index=CREATE_INDEX)


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
    """A transaction that has run the statement and stays open."""
    with psycopg.connect(url, options="-c pixelflow.tenant_scope=everyone") as holder:
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
        ("LOCK TABLE schema_migrations IN SHARE MODE", "INSERT INTO schema_migrations"),
    ],
    ids=["in the middle of a file", "between a file and its record"],
)
def test_the_next_run_completes_a_migration_that_was_killed(
    migrated_to: MigratedTo,
    with_more: Path,
    migrating: Callable[[str, Path], subprocess.Popen[str]],
    statement: str,
    waits_in: str,
) -> None:
    url = migrated_to(ALL)
    with held(url, statement):
        process = migrating(url, with_more)
        wait_for(lambda: is_waiting(url, waits_in), 20)
        process.kill()
    applied = migrate(url, migrations=with_more)
    assert applied == MORE[2 - len(applied) :]
    assert "9002-region" in applied
    assert count(url, "SELECT count(*) FROM schema_migrations") == len(ALL) + 2
    assert migrate(url, migrations=with_more) == []


def test_the_next_run_builds_an_index_whose_build_was_killed(
    migrated_to: MigratedTo, with_index: Path, migrating: Callable[[str, Path], subprocess.Popen[str]]
) -> None:
    url = migrated_to(ALL)
    exists = "SELECT count(*) FROM pg_index WHERE indexrelid::regclass::text = 'usage_logs_by_pixels'"
    with held(url, "INSERT INTO usage_logs VALUES (gen_random_uuid(), 'u', 1, 1, 1)"):
        process = migrating(url, with_index)
        wait_for(lambda: is_waiting(url, "CREATE INDEX CONCURRENTLY"), 20)
        process.kill()
        wait_for(lambda: not is_waiting(url, "CREATE INDEX CONCURRENTLY"), 20)
    assert count(url, f"{exists} AND NOT indisvalid") == 1, "the killed build leaves an invalid index"
    assert migrate(url, migrations=with_index) == ["9999-index"]
    assert count(url, f"{exists} AND indisvalid") == 1


def test_of_two_concurrent_runs_one_applies_the_migrations(
    url: str, with_more: Path, migrating: Callable[[str, Path], subprocess.Popen[str]]
) -> None:
    processes = [migrating(url, with_more) for _ in range(2)]
    applied = [process.communicate(timeout=300)[0].split() for process in processes]
    assert sorted(applied) == [[], stems(ALL) + MORE]


def test_a_concurrent_run_that_waits_does_not_block_an_index_build(
    migrated_to: MigratedTo, with_index: Path, migrating: Callable[[str, Path], subprocess.Popen[str]]
) -> None:
    url = migrated_to(ALL)
    with held(url, "INSERT INTO usage_logs VALUES (gen_random_uuid(), 'u', 1, 1, 1)"):
        first = migrating(url, with_index)
        wait_for(lambda: is_waiting(url, "CREATE INDEX CONCURRENTLY"), 20)
        second = migrating(url, with_index)
        wait_for(lambda: count(url, RUNNING, ("%advisory_lock%",)) > 0, 20)
    assert [process.communicate(timeout=300)[0].split() for process in (first, second)] == [["9999-index"], []]


def test_other_clients_do_not_wait_behind_a_migration_that_waits(
    migrated_to: MigratedTo, with_more: Path, migrating: Callable[[str, Path], subprocess.Popen[str]]
) -> None:
    url = migrated_to(ALL)
    with held(url, "SELECT count(*) FROM jobs"), psycopg.connect(url, autocommit=True) as other:
        process = migrating(url, with_more)
        wait_for(lambda: is_waiting(url, "ALTER TABLE jobs"), 20)
        other.execute("SET statement_timeout = '10s'")
        for _ in range(3):
            other.execute("SELECT count(*) FROM jobs")
        assert process.poll() is None
    assert process.communicate(timeout=300)[0].split() == MORE


def test_a_table_in_use_for_too_long_is_an_error_and_the_files_before_stay_applied(
    migrated_to: MigratedTo, with_more: Path
) -> None:
    url = migrated_to(ALL)
    with (
        held(url, "SELECT count(*) FROM jobs"),
        pytest.raises(StoreUnavailableError, match="9002-region needs a table"),
    ):
        migrate(url, migrations=with_more, retry_seconds=0)
    assert migrate(url, migrations=with_more) == ["9002-region"]


def test_a_file_that_fails_leaves_nothing(migrated_to: MigratedTo, folder_of: MakeFolder) -> None:
    url = migrated_to(ALL)
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(url, migrations=folder_of(ALL, _9001_tags=f"{CREATE_TABLE} SELECT 1 / 0;"))
    assert migrate(url, migrations=folder_of(ALL, _9001_tags=CREATE_TABLE)) == ["9001-tags"]


def test_a_file_that_changed_after_it_was_applied_is_refused(url: str, folder_of: MakeFolder) -> None:
    migrate(url, migrations=folder_of([], _0001_tags=CREATE_TABLE))
    with pytest.raises(StoreUnavailableError, match="0001-tags was changed after it was applied"):
        migrate(
            url, migrations=folder_of([], _0001_tags=f"{CREATE_TABLE} -- changed", _0002_more="CREATE TABLE more ();")
        )
    assert count(url, "SELECT count(*) FROM schema_migrations") == 1


def test_an_older_release_accepts_the_migrations_of_a_newer_one(migrated_to: MigratedTo, with_more: Path) -> None:
    url = migrated_to(ALL)
    assert migrate(url, migrations=with_more) == MORE
    assert migrate(url) == []


def test_a_database_of_a_development_version_is_refused_and_left_as_it_was(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE _yoyo_migration (migration_id text)")
    with pytest.raises(StoreUnavailableError, match=r"made by a development version.*create a new database"):
        migrate(url)
    assert count(url, "SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace") == 1
