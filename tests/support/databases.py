"""Creates empty databases for single tests and drops them afterwards; makes a server of tests faster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from pixelflow.devstack.postgres import ADMIN, ROLE
from pixelflow.devstack.stack import Stack


def superuser(stack: Stack) -> psycopg.Connection[psycopg.rows.TupleRow]:
    """A connection with all rights."""
    url = urlsplit(stack.environment["PIXELFLOW_DATABASE_URL"])
    return psycopg.connect(
        host=url.hostname,
        port=url.port,
        user=ADMIN,
        password=stack.home.secrets["postgres_admin"],
        dbname="postgres",
        autocommit=True,
    )


def without_fsync(stack: Stack) -> None:
    """Let commits not wait for the disk. What was committed survives a kill of the server, not one of the machine."""
    with superuser(stack) as admin:
        admin.execute("ALTER SYSTEM SET fsync = off")
        admin.execute("SELECT pg_reload_conf()")


@contextmanager
def new_database(stack: Stack) -> Iterator[str]:
    """URL of an empty database whose owner, as on a managed server, is no superuser."""
    url = urlsplit(stack.environment["PIXELFLOW_DATABASE_URL"])
    name = f"test_{uuid4().hex}"
    with superuser(stack) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(ROLE)))
        try:
            yield url._replace(path=f"/{name}").geturl()
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
