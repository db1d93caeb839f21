"""While a release still runs on a database with a newer schema, every statement of that release has the same result.

For each release, its recorded statements are replayed on its own schema and, on the same connection, on the newest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import DictRow, dict_row
from tests.migration.conftest import ALL
from tests.migration.record import record
from tests.migration.recording import RECORDINGS, Recording, read
from tests.migration.replayer import replay
from tests.support.code import sql_functions

from pixelflow.adapters.postgres.migrate import MIGRATIONS, migrate

RELEASES = [read(path) for path in sorted(RECORDINGS.glob("*.json"))]
CHANGELOG = Path(__file__).parents[2] / "CHANGELOG.md"
Open = psycopg.Connection[DictRow]
Rows = dict[str, list[dict[str, Any]]]

of_each_release = pytest.mark.parametrize("recording", RELEASES, ids=lambda recording: recording.release)


@pytest.fixture
def connect(url: str) -> Iterator[Callable[[], Open]]:
    opened: list[Open] = []

    def make() -> Open:
        connection = psycopg.connect(
            url, autocommit=True, row_factory=dict_row, options="-c pixelflow.tenant_scope=everyone"
        )
        opened.append(connection)
        return connection

    yield make
    for connection in opened:
        connection.close()


def tables(connection: Open) -> list[str]:
    found = connection.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
        " AND relname <> 'schema_migrations' ORDER BY relname"
    ).fetchall()
    return [row["relname"] for row in found]


def everything(connection: Open) -> Rows:
    """Every row of every table."""
    connection.execute("SELECT set_config('pixelflow.tenant_scope', 'everyone', false)")
    found: Rows = {}
    for table in tables(connection):
        query = sql.SQL("SELECT to_jsonb(t) AS row FROM {} AS t ORDER BY t::text").format(sql.Identifier(table))
        found[table] = [row["row"] for row in connection.execute(query).fetchall()]
    return found


def clear(connection: Open) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, tables(connection)))
    connection.execute(sql.SQL("TRUNCATE {}").format(names))


# ── Recordings ───────────────────────────────────────────────────────────────────────────────────


def test_every_release_in_the_changelog_has_a_recording() -> None:
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", CHANGELOG.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(released) <= {recording.release for recording in RELEASES}, "run `make record-statements`"
    assert RELEASES


@of_each_release
def test_no_migration_of_a_release_is_removed(recording: Recording) -> None:
    assert set(recording.migrations) <= set(ALL)


def test_the_scenario_calls_every_function_of_the_stores(migrated_to: Callable[[Iterable[str]], str]) -> None:
    """So that a recording contains every statement. The scenario runs here, too, so that it keeps working."""
    recording = record(migrated_to(ALL))
    called = {each.function for each in recording.statements}
    assert called == set(sql_functions()), "call it in tests/migration/scenario.py"
    idle = {
        name for name in called if all(each.row_count == 0 for each in recording.statements if each.function == name)
    }
    assert idle == set(), "the scenario must let each statement find rows"


# ── The newest schema ────────────────────────────────────────────────────────────────────────────


@of_each_release
def test_a_running_release_keeps_working_while_its_database_is_migrated(
    migrated_to: Callable[[Iterable[str]], str], connect: Callable[[], Open], recording: Recording
) -> None:
    url, running = migrated_to(recording.migrations), connect()
    assert replay(running, recording) == []
    migrate(url)
    clear(running)
    assert replay(running, recording) == []


@of_each_release
def test_a_migration_keeps_all_rows(
    migrated_to: Callable[[Iterable[str]], str], connect: Callable[[], Open], recording: Recording
) -> None:
    url, running = migrated_to(recording.migrations), connect()
    assert replay(running, recording) == []
    before = everything(running)
    assert sum(map(len, before.values())) >= 8
    assert len(migrate(url)) == len(ALL) - len(recording.migrations)
    after = everything(connect())
    for table, rows in before.items():
        kept = [{name: row[name] for name in rows[0]} for row in after[table]] if rows else after[table]
        assert kept == rows, table


@of_each_release
def test_rows_from_before_a_migration_satisfy_its_constraints(
    migrated_to: Callable[[Iterable[str]], str], connect: Callable[[], Open], recording: Recording
) -> None:
    url, running = migrated_to(recording.migrations), connect()
    assert replay(running, recording) == []
    migrate(url)
    not_valid = running.execute(
        "SELECT conrelid::regclass::text AS t, conname FROM pg_constraint WHERE NOT convalidated"
    )
    for row in not_valid.fetchall():
        running.execute(
            sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}").format(
                sql.Identifier(row["t"]), sql.Identifier(row["conname"])
            )
        )


# ── The replay itself ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE jobs RENAME COLUMN requires TO needs",
        "ALTER TABLE deliveries DROP COLUMN response_excerpt",
        "ALTER TABLE jobs ADD COLUMN region text NOT NULL",
        "ALTER TABLE attempts ADD CHECK (attempt < 2)",
        "ALTER TABLE usage_logs ALTER COLUMN bytes_saved TYPE integer, ADD CHECK (bytes_saved < 500)",
        "CREATE UNIQUE INDEX ON jobs (user_id)",
        "DROP TRIGGER jobs_make_event ON jobs",
        "DROP POLICY select_by_key ON api_keys",
    ],
)
def test_an_incompatible_schema_is_detected(
    migrated_to: Callable[[Iterable[str]], str], connect: Callable[[], Open], change: str
) -> None:
    [recording] = [each for each in RELEASES if each.release == "0.1.0"]
    migrated_to(recording.migrations)
    running = connect()
    running.execute(change)
    assert replay(running, recording)


def test_a_schema_with_more_columns_is_compatible(
    migrated_to: Callable[[Iterable[str]], str], connect: Callable[[], Open]
) -> None:
    [recording] = [each for each in RELEASES if each.release == "0.1.0"]
    migrated_to(recording.migrations)
    running = connect()
    running.execute("ALTER TABLE outputs ADD COLUMN blurhash text, ADD COLUMN frames integer NOT NULL DEFAULT 1")
    assert replay(running, recording) == []


def test_files_of_migrations_are_named_by_number() -> None:
    assert [path.name for path in MIGRATIONS.iterdir() if not re.fullmatch(r"\d{4}-[a-z-]+\.sql", path.name)] == []
    numbers = [name[:4] for name in ALL]
    assert len(set(numbers)) == len(numbers)
