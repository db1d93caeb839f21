"""All places where a running PixelFlow stores or exposes data, as bytes by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import redis
from psycopg import sql
from tests.acceptance.running import database_url, descendants, process_of

from pixelflow.devstack.stack import Stack

Places = Mapping[str, bytes]


def spellings(secret: str) -> set[bytes]:
    """Return the possible forms of a secret: plain, or as Postgres dumps bytes."""
    return {secret.encode(), secret.encode().hex().encode()}


def leaks(secrets: Mapping[str, str], places: Places) -> set[tuple[str, str]]:
    """Return which secret is found in which place."""
    return {
        (name, place)
        for name, secret in secrets.items()
        for place, content in places.items()
        if any(spelling in content for spelling in spellings(secret))
    }


def logs(stack: Stack) -> Places:
    """Return the logs of the processes and servers."""
    return {f"log {path.name}": path.read_bytes() for path in (stack.home.path / "logs").iterdir()}


def tables(stack: Stack) -> Places:
    """A dump of every table, of all users' rows."""
    with psycopg.connect(database_url(stack), options="-c pixelflow.tenant_scope=everyone") as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        return {f"table {name}": _dumped(connection, name) for (name,) in names}


def _dumped(connection: psycopg.Connection, table: str) -> bytes:
    query = sql.SQL("COPY (SELECT * FROM {}) TO STDOUT").format(sql.Identifier(table))
    with connection.cursor().copy(query) as rows:
        return b"".join(bytes(row) for row in rows)


def queue(stack: Stack) -> Places:
    """Every value in Redis."""
    client: redis.Redis = redis.Redis.from_url(stack.environment["PIXELFLOW_REDIS_URL"])
    with client:
        return {f"redis {key.decode()}": b"\n".join(_values(client, key)) for key in client.scan_iter()}


def _values(client: redis.Redis, key: bytes) -> Iterator[bytes]:
    reads: dict[bytes, Callable[[], Any]] = {
        b"string": lambda: [client.get(key)],
        b"hash": lambda: [part for row in client.hgetall(key).items() for part in row],
        b"list": lambda: client.lrange(key, 0, -1),
        b"set": lambda: client.smembers(key),
        b"zset": lambda: client.zrange(key, 0, -1),
    }
    kind: Any = client.type(key)
    yield from reads[kind]() if kind != b"none" else ()  # deleted meanwhile


def process_list() -> Places:
    """The command lines of everything that runs below this process, as ``ps`` shows them to every user."""
    return {f"command {each.pid}": "\0".join(each.command).encode() for each in descendants(os.getpid())}


def transform_children(stack: Stack) -> Places:
    """The environments of the processes that decode pictures."""
    worker = process_of(stack, "worker")
    return {
        f"environment of child {each.pid}": Path(f"/proc/{each.pid}/environ").read_bytes()
        for each in descendants(worker.pid)
    }


def everywhere(stack: Stack) -> Places:
    """Return all places."""
    return {**logs(stack), **tables(stack), **queue(stack), **process_list(), **transform_children(stack)}


def secrets_of(stack: Stack) -> dict[str, str]:
    """Return the secrets of the stack's processes."""
    made = {name: value for name, value in stack.home.secrets.items() if name != "s3_access_key_id"}
    url = urlsplit(stack.environment["PIXELFLOW_REDIS_URL"])
    return {**made, "password of redis": url.password or ""}
