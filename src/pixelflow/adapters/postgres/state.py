"""Reads the version of a Postgres server and the migrations that its database lacks. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from pixelflow.adapters.postgres.migrate import MIGRATIONS
from pixelflow.errors import StoreUnavailableError

_SECONDS = 5


@dataclass(frozen=True)
class DatabaseState:
    """A database that answers."""

    version: int
    """The server's major version."""
    missing: list[str] | None
    """Migrations of this release that are not applied; None: the role can't read which are."""


def read_state(database_url: str) -> DatabaseState:
    """Return the state of the database; each step is bounded by five seconds.

    Raises:
        StoreUnavailableError: the database can't be reached, or refuses the user.
    """
    try:
        with psycopg.connect(database_url, autocommit=True, connect_timeout=_SECONDS) as connection:
            connection.execute("SELECT set_config('statement_timeout', %s, false)", (f"{_SECONDS}s",))
            return DatabaseState(connection.info.server_version // 10_000, _missing(connection))
    except psycopg.errors.InvalidPassword:
        raise StoreUnavailableError("Postgres refuses the user or the password") from None
    except psycopg.Error:  # its message may quote the URL
        raise StoreUnavailableError("Postgres can't be reached") from None


def _missing(connection: psycopg.Connection) -> list[str] | None:
    names = sorted(path.stem for path in MIGRATIONS.glob("*.sql"))
    try:
        applied = {name for (name,) in connection.execute("SELECT name FROM schema_migrations")}
    except psycopg.errors.InsufficientPrivilege:
        return None
    except psycopg.errors.UndefinedTable:
        applied = set()
    return [name for name in names if name not in applied]
