"""A connection on which Postgres explains what the store's functions send, run as for a process of some age.

Each statement is prepared and run often enough that Postgres decides whether to keep one plan for all values (after
five times, as for psycopg's own prepared statements); then the run is explained. Nothing that was explained stays done.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql
from psycopg._queries import PostgresQuery
from psycopg.adapt import Transformer
from psycopg.rows import DictRow

_TIMES = 6
_NAME = sql.Identifier("explained")


@dataclass
class Plan:
    """How statements were run: of one, or of several together."""

    indexes: set[str] = field(default_factory=set)
    scanned: set[str] = field(default_factory=set)
    """Tables that were read from one end to the other."""
    rows: int = 0
    """Rows that were read from tables, those that were then thrown away included."""
    buffers: int = 0
    """Pages of 8 KiB, however often each was looked at."""
    milliseconds: float = 0.0

    def add(self, explained: Mapping[str, Any]) -> None:
        """Count a statement in."""
        root = explained["Plan"]
        self.milliseconds += explained["Planning Time"] + explained["Execution Time"]
        self.buffers += root["Shared Hit Blocks"] + root["Shared Read Blocks"]
        for node in _nodes(root):
            self.indexes.update(node.get("Conflict Arbiter Indexes", ()))
            self.indexes.update([node["Index Name"]] if "Index Name" in node else [])
            if node["Node Type"] == "Seq Scan":
                self.scanned.add(node["Relation Name"])
            if "Relation Name" in node and "Scan" in node["Node Type"]:
                thrown_away = node.get("Rows Removed by Filter", 0)
                self.rows += round((node["Actual Rows"] + thrown_away) * node["Actual Loops"])


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


class Explaining:
    """A connection, as far as the store's synchronous functions know."""

    def __init__(self, connection: psycopg.Connection[DictRow]) -> None:
        connection.prepare_threshold = None  # psycopg's own would be dropped at each rollback, and ours with them
        self._connection = connection
        self.plan = Plan()

    def execute(self, statement: str, values: Any = None) -> psycopg.Cursor[DictRow]:  # noqa: ANN401 - psycopg's Params
        """Explain the statement, then run it."""
        self.plan.add(self._explained(statement, values))
        return self._connection.execute(statement, values)

    def _explained(self, statement: str, values: Any) -> Mapping[str, Any]:  # noqa: ANN401 - as above
        call = self._prepare(statement, values)
        for _ in range(_TIMES):
            with self._undone():
                self._connection.execute(call)
        with self._undone():
            explain = sql.SQL("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ") + call
            row = self._connection.execute(explain).fetchone()
        self._connection.execute(sql.SQL("DEALLOCATE {}").format(_NAME))
        assert row
        [explained] = row["QUERY PLAN"]
        return dict(explained)

    def _prepare(self, statement: str, values: Any) -> sql.Composed:  # noqa: ANN401 - as above
        """As psycopg would, with the types that it gives to the values; returns how to run it with these values."""
        query = PostgresQuery(Transformer(self._connection))
        query.convert(statement, values)
        types = ", ".join(self._type_name(oid) for oid in query.types)
        declared = sql.SQL(f"({types})" if types else "")
        self._connection.execute(sql.SQL("PREPARE {}{} AS ").format(_NAME, declared) + sql.SQL(query.query.decode()))
        ordered = [values[name] for name in query._order or ()] if isinstance(values, Mapping) else list(values or ())
        given = sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Literal, ordered))) if ordered else sql.SQL("")
        return sql.SQL("EXECUTE {}{}").format(_NAME, given)

    def _type_name(self, oid: int) -> str:
        row = self._connection.execute("SELECT format_type(%s, NULL) AS name", (oid,)).fetchone() if oid else None
        return row["name"] if row else "unknown"

    @contextmanager
    def _undone(self) -> Iterator[None]:
        with self._connection.transaction(force_rollback=True):
            yield


class ExplainingAsync:
    """The same, for the others."""

    def __init__(self, explaining: Explaining) -> None:
        self._explaining = explaining

    async def execute(self, statement: str, values: Any = None) -> _AsyncCursor:  # noqa: ANN401 - psycopg's Params
        """Explain the statement, then run it."""
        return _AsyncCursor(self._explaining.execute(statement, values))


class _AsyncCursor:
    def __init__(self, cursor: psycopg.Cursor[DictRow]) -> None:
        self._cursor = cursor
        self.rowcount = cursor.rowcount

    async def fetchone(self) -> DictRow | None:
        return self._cursor.fetchone()

    async def fetchall(self) -> list[DictRow]:
        return self._cursor.fetchall()
