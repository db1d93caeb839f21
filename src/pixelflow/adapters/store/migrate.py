"""Bring a database to this release's schema: the SQL files of ``migrations/``, in order, each once, under a lock."""

from __future__ import annotations

from pathlib import Path

import psycopg
import yoyo

from pixelflow.contracts.problems import StoreUnavailableError

MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 0x50_49_58_45_4C  # "PIXEL"; any number that nobody else of this database takes


def migrate(database_url: str) -> list[str]:
    """Apply what is missing and return the names of it; twice is the same as once, and twins wait for each other.

    Raises:
        StoreUnavailableError: the database can't be reached, or its URL can't be read.
    """
    try:
        # The tool's own lock is a row that outlives a killed process. Ours dies with the connection; whoever holds it
        # knows that a lock row which is still there is nobody's.
        with _connect(database_url) as guard:
            guard.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
            return _apply(database_url)
    except psycopg.OperationalError as error:
        raise StoreUnavailableError("Postgres can't be reached") from error


def _connect(database_url: str) -> psycopg.Connection:
    try:
        return psycopg.connect(database_url, autocommit=True)
    except psycopg.ProgrammingError:  # quotes the URL, password and all
        raise StoreUnavailableError("The URL of Postgres can't be read") from None


def _apply(database_url: str) -> list[str]:
    backend = yoyo.get_backend(f"postgresql+psycopg://{database_url.partition('://')[2]}")
    try:
        # A migration that changes rows would else find none: the tables' own owner is held to its reach, too.
        backend.execute("SELECT set_config('pixelflow.reach', 'everyone', false)")
        missing = backend.to_apply(yoyo.read_migrations(str(MIGRATIONS)))
        if not missing:
            return []
        backend.break_lock()
        with backend.lock():
            backend.apply_migrations(missing)
        return [migration.id for migration in missing]
    finally:
        backend.connection.close()
