"""Bring a database to this release's schema: the SQL files of ``migrations/``, in order, each once, under a lock.

All on one connection, whose death ends everything that it holds. A file and the record that it was applied are one
transaction, unless the file says ``-- transactional: false``: such a one has to bear being run again after it was cut
off. A migration never makes the service wait for longer than a moment. What may stand in one: docs/database.md.
"""

from __future__ import annotations

import time
from pathlib import Path

import psycopg
import yoyo
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI
from yoyo.migrations import default_migration_table

from pixelflow.contracts.errors import StoreUnavailableError

MIGRATIONS = Path(__file__).parent / "migrations"
PATIENCE = 120.0
"""Seconds in which a table has to be had that others are using."""

_LOCK = 0x50_49_58_45_4C  # "PIXEL"; any number that nobody else of this database takes
_LOCK_POLL_SECONDS = 0.2
_PAUSE_SECONDS = 2.0
_SETTINGS = {
    # A migration that changes rows would else find none: the tables' own owner is held to its reach, too.
    "pixelflow.reach": "everyone",
    # Whoever waits for a table has everybody else wait behind them. So not for long; then the others have their turn.
    # Less than Postgres' `deadlock_timeout`: where two wait for each other, it is we who give up.
    "lock_timeout": "500ms",
    # The server notices when we are killed, and stops, instead of holding our locks until a long statement is over.
    "client_connection_check_interval": "1s",
}


def migrate(database_url: str, *, migrations: Path = MIGRATIONS, patience: float = PATIENCE) -> list[str]:
    """Apply what is missing and return the names of it; twice is the same as once, and twins wait for each other.

    Args:
        database_url: of the database.
        migrations: the folder of the files.
        patience: seconds in which a table has to be had that others are using.

    Raises:
        StoreUnavailableError: the database can't be reached, or its URL can't be read, or somebody has been using a
            table for too long; what was applied until then stays.
    """
    try:
        with _connect(database_url) as connection:
            _wait_for_turn(connection)
            return _apply(_Backend(connection), migrations, patience)
    except psycopg.OperationalError as error:
        raise StoreUnavailableError("Postgres can't be reached") from error


def _connect(database_url: str) -> psycopg.Connection:
    try:
        return psycopg.connect(database_url, autocommit=True)
    except psycopg.ProgrammingError:  # quotes the URL, password and all
        raise StoreUnavailableError("The URL of Postgres can't be read") from None


def _wait_for_turn(connection: psycopg.Connection) -> None:
    """Take the lock, which dies with the connection.

    By asking again and again: whoever waits in a statement has a snapshot, and ``CREATE INDEX CONCURRENTLY`` waits for
    all who have one. It would wait for its twin, who waits for it, and Postgres would not see that.
    """
    while connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchone() != (True,):
        time.sleep(_LOCK_POLL_SECONDS)


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]  # yoyo has no types
    """The migration tool on a connection of ours: it reads URLs in a way of its own, and would open several."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._ours = connection
        super().__init__(DatabaseURI("postgresql", None, None, None, None, "", {}), default_migration_table)

    def connect(self, _: DatabaseURI) -> psycopg.Connection:
        return self._ours


def _apply(backend: _Backend, migrations: Path, patience: float) -> list[str]:
    for name, value in _SETTINGS.items():
        _set(backend.connection, name, value)
    backend.init_database()
    # The tool's own lock is a row that outlives a killed process. Whoever has ours knows that it is nobody's.
    backend.break_lock()
    missing = backend.to_apply(yoyo.read_migrations(str(migrations)))
    for migration in missing:
        _apply_one(backend, migration, time.monotonic() + patience)
    return [migration.id for migration in missing]


def _apply_one(backend: _Backend, migration: yoyo.migrations.Migration, deadline: float) -> None:
    while True:
        try:
            _run(backend, migration)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            if time.monotonic() > deadline:
                raise StoreUnavailableError(
                    f"{migration.id} needs a table that somebody has been using for too long; try again"
                ) from error
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _run(backend: _Backend, migration: yoyo.migrations.Migration) -> None:
    """What the tool does itself in two transactions: killed between them, it would meet its own tables again."""
    migration.load()
    if migration.use_transactions:
        with backend.transaction():
            migration.process_steps(backend, "apply")
            backend.mark_one(migration)
        return
    # Builds indexes, while everybody else goes on; but waits for all who are at something, as long as they are.
    _set(backend.connection, "lock_timeout", "0")
    migration.process_steps(backend, "apply")
    _set(backend.connection, "lock_timeout", _SETTINGS["lock_timeout"])
    backend.mark_one(migration)


def _set(connection: psycopg.Connection, name: str, value: str) -> None:
    connection.execute("SELECT set_config(%s, %s, false)", (name, value))
