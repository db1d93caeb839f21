"""Calls the stores' functions on a connection that records their statements and results."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import DictRow
from tests.migration.recording import Json, Place, RecordedStatement, encode, is_snapshot, now
from tests.support.code import sql_functions

from pixelflow.adapters.postgres.connection import TenantScope


class Recorder:
    """Records the statements of the functions that it calls."""

    def __init__(self, connection: psycopg.Connection[DictRow]) -> None:
        self._connection = connection
        self._functions = sql_functions()
        self._start = now()
        self._sent: set[object] = set()
        self._generated: dict[object, Place] = {}
        self.statements: list[RecordedStatement] = []

    async def call(self, name: str, scope: TenantScope, /, *arguments: object, **named: object) -> Any:  # noqa: ANN401 - whatever it returns
        """Call the store's function within that scope."""
        self._connection.execute("SELECT set_config('pixelflow.tenant_scope', %s, false)", (scope,))
        function = self._functions[name]
        is_async = inspect.iscoroutinefunction(function)
        connection = _AsyncConnection(self, name, scope) if is_async else _Connection(self, name, scope)
        result = function(connection, *arguments, **named)
        return await result if is_async else result

    def execute(self, name: str, scope: str, statement: str | bytes, values: Any) -> _Cursor:  # noqa: ANN401 - psycopg's Params
        """Send the statement, and record it."""
        encoded = self._encode(values)
        text = statement.decode() if isinstance(statement, bytes) else statement
        cursor = self._connection.execute(text, values)
        rows = cursor.fetchall() if cursor.description else []
        for row, columns in enumerate(rows):
            for column, value in columns.items():
                self._note_generated(value, (len(self.statements), row, column))
        result = [{name: encode(value, self._start) for name, value in columns.items()} for columns in rows]
        self.statements.append(RecordedStatement(name, scope, text, encoded, result, cursor.rowcount))
        return _Cursor(rows, cursor.rowcount)

    def _encode(self, values: Any) -> Json:  # noqa: ANN401 - psycopg's Params
        if isinstance(values, Mapping):
            return {name: encode(value, self._start, self._place_of) for name, value in values.items()}
        return [encode(value, self._start, self._place_of) for value in values or ()]

    def _place_of(self, value: object) -> Place | None:
        """Where the database generated the value; any other value counts as sent from now on."""
        if not isinstance(value, UUID | datetime | str):
            return None
        if value not in self._generated:
            self._sent.add(value)
        return self._generated.get(value)

    def _note_generated(self, value: object, place: Place) -> None:
        """The database generated the IDs and times that it returns and that were never sent to it."""
        if isinstance(value, UUID | datetime | str) and value not in self._sent and not _is_constant(value):
            self._generated.setdefault(value, place)


def _is_constant(value: object) -> bool:
    """Whether the database returns the same value each time, such as a status."""
    return isinstance(value, str) and not (value.startswith("msg_") or is_snapshot(value))


class _Cursor:
    """A cursor whose rows are already fetched."""

    def __init__(self, rows: Sequence[DictRow], row_count: int) -> None:
        self._rows = list(rows)
        self.rowcount = row_count

    def fetchone(self) -> DictRow | None:
        return self._rows[0] if self._rows else None

    def fetchall(self) -> list[DictRow]:
        return self._rows


class _AsyncCursor:
    def __init__(self, cursor: _Cursor) -> None:
        self._cursor = cursor
        self.rowcount = cursor.rowcount

    async def fetchone(self) -> DictRow | None:
        return self._cursor.fetchone()

    async def fetchall(self) -> list[DictRow]:
        return self._cursor.fetchall()


class _Connection:
    """The part of a connection that the worker's store uses."""

    def __init__(self, recorder: Recorder, name: str, scope: str) -> None:
        self._recorder = recorder
        self._called = name, scope

    def execute(self, statement: str | bytes, values: Any = None) -> _Cursor:  # noqa: ANN401 - psycopg's Params
        return self._recorder.execute(*self._called, statement, values)


class _AsyncConnection(_Connection):
    """The part of a connection that the asynchronous stores use."""

    async def execute(self, statement: str | bytes, values: Any = None) -> _AsyncCursor:  # type: ignore[override]  # noqa: ANN401
        return _AsyncCursor(self._recorder.execute(*self._called, statement, values))
