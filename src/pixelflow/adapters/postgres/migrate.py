"""Applies the SQL files of ``migrations/`` in the order of their names, each once, under an advisory lock.

One connection holds the lock and runs everything, so its end releases all locks. A file and its record in
``schema_migrations`` are one transaction, unless the file contains the line ``-- transactional: false``; such a file
must be safe to run again after an interruption. A migration must never block other clients for longer than its
``lock_timeout``. docs/database.md lists the statements that a file may contain.

After the migrations, the rights of the processes' roles are set (:mod:`pixelflow.adapters.postgres.grants`).
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psycopg

from pixelflow.adapters.postgres import grants
from pixelflow.errors import StoreUnavailableError

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK_RETRY_SECONDS = 120.0
"""How long each file retries to lock a table that other clients use."""

_LOCK = 0x50_49_58_45_4C  # "PIXEL"; any number that no other client of this database uses
_LOCK_POLL_SECONDS = 0.2
_RETRY_PAUSE_SECONDS = 2.0
_LOCK_TIMEOUT = "500ms"
"""Clients that need a table queue behind a migration that waits for it, so the wait is short and they get their turn.

Less than Postgres' ``deadlock_timeout``: in a deadlock, the migration is the one that gives up.
"""
_SETTINGS = {
    # Row-level security also applies to the tables' owner: without this, a migration that changes rows finds none.
    "pixelflow.tenant_scope": "everyone",
    # The server detects a killed client and stops. Otherwise it keeps the locks until a long statement ends.
    "client_connection_check_interval": "1s",
}
_PIN_SCHEMA = "SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', false)"
"""Functions that run as their owner keep this search path, so that no temporary table can replace a table of theirs."""
_CREATE_RECORD = """
    CREATE TABLE IF NOT EXISTS schema_migrations (
        name       text PRIMARY KEY,
        checksum   text NOT NULL,  -- SHA-256 of the file
        applied_at timestamptz NOT NULL DEFAULT now()
    )
"""
_HAS_DEVELOPMENT_RECORD = """
    SELECT to_regclass('_yoyo_migration') IS NOT NULL AND to_regclass('schema_migrations') IS NULL
"""


@dataclass(frozen=True)
class _Migration:
    name: str
    text: bytes

    @classmethod
    def read(cls, path: Path) -> Self:
        return cls(path.stem, path.read_bytes())

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text).hexdigest()

    @property
    def is_transactional(self) -> bool:
        return not re.search(rb"^-- transactional: false\s*$", self.text, re.MULTILINE)

    @property
    def statements(self) -> list[bytes]:
        """One by one. Only for files without a transaction, which contain no function bodies."""
        return [each for each in re.split(rb";[ \t]*$", self.text, flags=re.MULTILINE) if each.strip()]


def migrate(
    database_url: str,
    *,
    migrations: Path = MIGRATIONS,
    retry_seconds: float = LOCK_RETRY_SECONDS,
    echo: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Apply the missing files, return their names, and set the rights of the processes' roles.

    Idempotent; concurrent calls wait for each other.

    Args:
        database_url: URL of the database.
        migrations: folder of the SQL files.
        retry_seconds: how long each file retries to lock a table that other clients use.
        echo: called with a message if the server lacks some of the roles.

    Raises:
        StoreUnavailableError: the database can't be reached, its URL is not valid, a table was in use for too long, or
            the database was made by a development version or from other files. Files applied before that stay applied.
    """
    try:
        with _connect(database_url) as connection:
            _acquire_lock(connection)
            applied = _apply_missing(connection, migrations, retry_seconds)
            if migrations == MIGRATIONS:  # the grants name the tables of the newest schema
                _apply_grants(connection, echo)
            return applied
    except psycopg.OperationalError as error:
        raise StoreUnavailableError("Postgres can't be reached") from error


def _connect(database_url: str) -> psycopg.Connection:
    try:
        return psycopg.connect(database_url, autocommit=True)
    except psycopg.ProgrammingError:  # its message quotes the URL, with the password
        raise StoreUnavailableError("The URL of Postgres is not valid") from None


def _acquire_lock(connection: psycopg.Connection) -> None:
    """Acquire the session's advisory lock by polling.

    A statement that waits for the lock has a snapshot, and ``CREATE INDEX CONCURRENTLY`` waits for all snapshots. The
    two would wait for each other, and Postgres would not detect the deadlock.
    """
    while connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchone() != (True,):
        time.sleep(_LOCK_POLL_SECONDS)


def _apply_missing(connection: psycopg.Connection, folder: Path, retry_seconds: float) -> list[str]:
    for name, value in _SETTINGS.items():
        _set(connection, name, value)
    connection.execute(_PIN_SCHEMA)
    applied = _read_record(connection)
    migrations = [_Migration.read(path) for path in sorted(folder.glob("*.sql"))]
    _check_unchanged(migrations, applied)
    missing = [migration for migration in migrations if migration.name not in applied]
    for migration in missing:
        _apply_with_retries(connection, migration, time.monotonic() + retry_seconds)
    return [migration.name for migration in missing]


def _apply_grants(connection: psycopg.Connection, echo: Callable[[str], None]) -> None:
    if missing := grants.apply(connection):
        echo(f"Skipped the grants of roles that do not exist: {', '.join(missing)}")


def _read_record(connection: psycopg.Connection) -> dict[str, str]:
    """Return the checksums of the applied files by name."""
    if connection.execute(_HAS_DEVELOPMENT_RECORD).fetchone() == (True,):
        raise StoreUnavailableError(
            "The database was made by a development version of PixelFlow; create a new database, "
            "or remove the home directory of `pixelflow up`"
        )
    connection.execute(_CREATE_RECORD)
    return dict(connection.execute("SELECT name, checksum FROM schema_migrations").fetchall())


def _check_unchanged(migrations: list[_Migration], applied: Mapping[str, str]) -> None:
    for migration in migrations:
        if applied.get(migration.name, migration.checksum) != migration.checksum:
            raise StoreUnavailableError(
                f"{migration.name} was changed after it was applied to this database; install an unmodified release, "
                "or create a new database"
            )


def _apply_with_retries(connection: psycopg.Connection, migration: _Migration, deadline: float) -> None:
    while True:
        try:
            _apply(connection, migration)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            if time.monotonic() > deadline:
                raise StoreUnavailableError(
                    f"{migration.name} needs a table that has been in use for too long; try again"
                ) from error
            time.sleep(_RETRY_PAUSE_SECONDS)
        else:
            return


def _apply(connection: psycopg.Connection, migration: _Migration) -> None:
    if migration.is_transactional:
        _set(connection, "lock_timeout", _LOCK_TIMEOUT)
        with connection.transaction():
            connection.execute(migration.text)
            _record(connection, migration)
        return
    # Concurrent index builds don't block other clients, but wait until all present transactions have ended.
    _set(connection, "lock_timeout", "0")
    for statement in migration.statements:
        connection.execute(statement)
    _record(connection, migration)


def _record(connection: psycopg.Connection, migration: _Migration) -> None:
    connection.execute(
        "INSERT INTO schema_migrations (name, checksum) VALUES (%s, %s)", (migration.name, migration.checksum)
    )


def _set(connection: psycopg.Connection, name: str, value: str) -> None:
    connection.execute("SELECT set_config(%s, %s, false)", (name, value))
