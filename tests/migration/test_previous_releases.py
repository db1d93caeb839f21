"""While a database is newer than the release that still runs on it: every statement of that release does what it did.

For each release, its statements are played on its own schema and, on the same connection, on the newest.
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
from tests.migration.player import play
from tests.migration.record import recorded
from tests.migration.tape import TAPES, Tape, read
from tests.support.code import sql_functions

from pixelflow.adapters.postgres.migrate import MIGRATIONS, migrate

RELEASES = [read(path) for path in sorted(TAPES.glob("*.json"))]
CHANGELOG = Path(__file__).parents[2] / "CHANGELOG.md"
Open = psycopg.Connection[DictRow]
Rows = dict[str, list[dict[str, Any]]]

of_each_release = pytest.mark.parametrize("tape", RELEASES, ids=lambda tape: tape.release)


@pytest.fixture
def connect(url: str) -> Iterator[Callable[[], Open]]:
    opened: list[Open] = []

    def make() -> Open:
        connection = psycopg.connect(url, autocommit=True, row_factory=dict_row, options="-c pixelflow.reach=everyone")
        opened.append(connection)
        return connection

    yield make
    for connection in opened:
        connection.close()


def tables(connection: Open) -> list[str]:
    found = connection.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
        " AND relname NOT LIKE '%yoyo%' ORDER BY relname"
    ).fetchall()
    return [row["relname"] for row in found]


def everything(connection: Open) -> Rows:
    """Every row of every table."""
    connection.execute("SELECT set_config('pixelflow.reach', 'everyone', false)")
    found: Rows = {}
    for table in tables(connection):
        query = sql.SQL("SELECT to_jsonb(t) AS row FROM {} AS t ORDER BY t::text").format(sql.Identifier(table))
        found[table] = [row["row"] for row in connection.execute(query).fetchall()]
    return found


def clear(connection: Open) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, tables(connection)))
    connection.execute(sql.SQL("TRUNCATE {}").format(names))


# ── The record ───────────────────────────────────────────────────────────────────────────────────


def test_every_release_that_the_changelog_tells_of_has_its_tape() -> None:
    told = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", CHANGELOG.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(told) <= {tape.release for tape in RELEASES}, "run `make tape` for the release"
    assert RELEASES


@of_each_release
def test_no_migration_of_a_release_is_gone(tape: Tape) -> None:
    assert set(tape.migrations) <= set(ALL)


def test_the_story_calls_every_function_of_the_store(migrated_to: Callable[[Iterable[str]], str]) -> None:
    """So that a tape holds every statement. It is recorded with each release, and now, to see that it can be."""
    tape = recorded(migrated_to(ALL))
    called = {step.function for step in tape.steps}
    assert called == set(sql_functions()), "let tests/migration/scenario.py call it, too"
    idle = {name for name in called if all(step.row_count == 0 for step in tape.steps if step.function == name)}
    assert idle <= {"queue.unsend_all"}, "a statement that finds nothing to do is hardly tried"


# ── The newest schema ────────────────────────────────────────────────────────────────────────────


@of_each_release
def test_a_release_goes_on_while_its_database_is_migrated_under_it(
    migrated_to: Callable[[Iterable[str]], str], connect: Callable[[], Open], tape: Tape
) -> None:
    url, running = migrated_to(tape.migrations), connect()
    assert play(running, tape) == []
    migrate(url)
    clear(running)
    assert play(running, tape) == []


@of_each_release
def test_rows_from_before_a_migration_are_there_after_it(
    migrated_to: Callable[[Iterable[str]], str], connect: Callable[[], Open], tape: Tape
) -> None:
    url, running = migrated_to(tape.migrations), connect()
    assert play(running, tape) == []
    before = everything(running)
    assert sum(map(len, before.values())) >= 8
    assert len(migrate(url)) == len(ALL) - len(tape.migrations)
    after = everything(connect())
    for table, rows in before.items():
        kept = [{name: row[name] for name in rows[0]} for row in after[table]] if rows else after[table]
        assert kept == rows, table


@of_each_release
def test_rows_from_before_a_migration_are_such_as_its_constraints_ask_for(
    migrated_to: Callable[[Iterable[str]], str], connect: Callable[[], Open], tape: Tape
) -> None:
    url, running = migrated_to(tape.migrations), connect()
    assert play(running, tape) == []
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


# ── That it would be noticed ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE jobs RENAME COLUMN relayed_at TO sent_at",
        "ALTER TABLE deliveries DROP COLUMN response_excerpt",
        "ALTER TABLE jobs ADD COLUMN region text NOT NULL",
        "ALTER TABLE attempts ADD CHECK (attempt < 2)",
        "ALTER TABLE usage_logs ALTER COLUMN bytes_saved TYPE integer, ADD CHECK (bytes_saved < 500)",
        "CREATE UNIQUE INDEX ON jobs (user_id)",
        "DROP TRIGGER jobs_make_event ON jobs",
        "DROP POLICY shown ON api_keys",
    ],
)
def test_a_schema_that_the_release_can_not_live_with_is_noticed(
    migrated_to: Callable[[Iterable[str]], str], connect: Callable[[], Open], change: str
) -> None:
    [tape] = [tape for tape in RELEASES if tape.release == "0.1.0"]
    migrated_to(tape.migrations)
    running = connect()
    running.execute(change)
    assert play(running, tape)


def test_a_schema_that_only_has_more_is_none(
    migrated_to: Callable[[Iterable[str]], str], connect: Callable[[], Open]
) -> None:
    [tape] = [tape for tape in RELEASES if tape.release == "0.1.0"]
    migrated_to(tape.migrations)
    running = connect()
    running.execute("ALTER TABLE outputs ADD COLUMN blurhash text, ADD COLUMN frames integer NOT NULL DEFAULT 1")
    assert play(running, tape) == []


def test_files_of_migrations_are_named_by_number() -> None:
    assert [path.name for path in MIGRATIONS.iterdir() if not re.fullmatch(r"\d{4}-[a-z-]+\.sql", path.name)] == []
    numbers = [name[:4] for name in ALL]
    assert len(set(numbers)) == len(numbers)
