"""Sets the rights of the roles that PixelFlow's processes connect as; ``roles/`` has a SQL file for each.

The role that owns the tables applies them after the migrations. It never creates a role: that requires ``CREATEROLE``,
which managed databases often withhold, and a password. A role that does not exist is skipped, so that an installation
whose processes all connect as the owner works, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

ROLES = Path(__file__).parent / "roles"

_EXISTING = "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)"
_OWNS_DATABASE = "SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = current_database()"
_NAMES = "SELECT current_schema() AS schema, current_database() AS database"


def apply(connection: psycopg.Connection) -> list[str]:
    """Replace the rights of each role by those of its file; return the roles that do not exist. Idempotent.

    All changes are one transaction, so processes that are connected as these roles notice nothing.
    """
    files = {path.stem: path for path in sorted(ROLES.glob("*.sql"))}
    with connection.transaction():
        existing = {name for (name,) in connection.execute(_EXISTING, (list(files),))}
        for role in sorted(existing):
            _replace_rights(connection, role, files[role].read_bytes())
        connection.execute(_format(connection, "REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC"))
        if existing:
            _revoke_temporary_tables(connection)
    return [role for role in files if role not in existing]


def _replace_rights(connection: psycopg.Connection, role: str, statements: bytes) -> None:
    for statement in (
        "REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role}",
        "GRANT USAGE ON SCHEMA {schema} TO {role}",
    ):
        connection.execute(_format(connection, statement, role=role))
    connection.execute(statements)


def _revoke_temporary_tables(connection: psycopg.Connection) -> None:
    """Postgres lets every role create temporary tables by default. Only the database's owner can change that."""
    if connection.execute(_OWNS_DATABASE).fetchone() == (True,):
        connection.execute(_format(connection, "REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC"))


def _format(connection: psycopg.Connection, statement: LiteralString, **names: str) -> sql.Composed:
    """Insert the names of the schema and the database, and ``names``."""
    with connection.cursor(row_factory=dict_row) as cursor:
        names = {**cursor.execute(_NAMES).fetchall()[0], **names}
    return sql.SQL(statement).format(**{key: sql.Identifier(name) for key, name in names.items()})
