"""A connection that explains the statements which the stores' functions send, with the plans of a long-running process.

Each statement is prepared and run until Postgres decides whether to use a generic plan (after five runs, as for
psycopg's own prepared statements); then a run is explained. All changes are rolled back.
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


FEW_ROWS = {"workers"}
"""Tables that never grow with jobs or users: this one has a row for each live worker."""


@dataclass
class Plan:
    """How one or several statements were executed."""

    indexes: set[str] = field(default_factory=set)
    scanned: set[str] = field(default_factory=set)
    """Tables that were scanned sequentially, except those with few rows."""
    rows: int = 0
    """Rows that were read from tables, including those that a filter removed."""
    buffers: int = 0
    """Pages of 8 KiB, counted at each access."""
    milliseconds: float = 0.0

    def add(self, explained: Mapping[str, Any]) -> None:
        """Add a statement."""
        root = explained["Plan"]
        self.milliseconds += explained["Planning Time"] + explained["Execution Time"]
        self.buffers += root["Shared Hit Blocks"] + root["Shared Read Blocks"]
        for node in _nodes(root):
            self.indexes.update(node.get("Conflict Arbiter Indexes", ()))
            self.indexes.update([node["Index Name"]] if "Index Name" in node else [])
            if node["Node Type"] == "Seq Scan" and node["Relation Name"] not in FEW_ROWS:
                self.scanned.add(node["Relation Name"])
            if "Relation Name" in node and "Scan" in node["Node Type"]:
                removed = node.get("Rows Removed by Filter", 0)
                self.rows += round((node["Actual Rows"] + removed) * node["Actual Loops"])


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


class Explaining:
    """The part of a connection that the synchronous stores use."""

    def __init__(self, connection: psycopg.Connection[DictRow]) -> None:
        connection.prepare_threshold = None  # a rollback drops psycopg's prepared statements, and ours with them
        self._connection = connection
        self.plan = Plan()

    def execute(self, statement: str, values: Any = None) -> psycopg.Cursor[DictRow]:  # noqa: ANN401 - psycopg's Params
        """Explain the statement, then run it."""
        self.plan.add(self._explained(statement, values))
        return self._connection.execute(statement, values)

    def _explained(self, statement: str, values: Any) -> Mapping[str, Any]:  # noqa: ANN401 - as above
        call = self._prepare(statement, values)
        for _ in range(_TIMES):
            with self._rolled_back():
                self._connection.execute(call)
        with self._rolled_back():
            explain = sql.SQL("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ") + call
            row = self._connection.execute(explain).fetchone()
        self._connection.execute(sql.SQL("DEALLOCATE {}").format(_NAME))
        assert row
        [explained] = row["QUERY PLAN"]
        return dict(explained)

    def _prepare(self, statement: str, values: Any) -> sql.Composed:  # noqa: ANN401 - as above
        """Prepare the statement with psycopg's types of the values; returns the EXECUTE statement with these values."""
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
    def _rolled_back(self) -> Iterator[None]:
        with self._connection.transaction(force_rollback=True):
            yield


class ExplainingAsync:
    """The part of a connection that the asynchronous stores use."""

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
