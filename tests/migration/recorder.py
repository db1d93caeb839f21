"""Calls the store's functions on a connection that keeps what they send and what is answered."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import DictRow
from tests.migration.tape import Json, Place, Step, encoded, now
from tests.support.code import sql_functions

from pixelflow.adapters.postgres.database import TenantScope


class Recorder:
    """Keeps each statement as a step."""

    def __init__(self, connection: psycopg.Connection[DictRow]) -> None:
        self._connection = connection
        self._functions = sql_functions()
        self._start = now()
        self._given: set[object] = set()
        self._made_up: dict[object, Place] = {}
        self.steps: list[Step] = []

    async def call(self, name: str, reach: TenantScope, /, *arguments: object, **named: object) -> Any:  # noqa: ANN401 - whatever it returns
        """Call the store's function as somebody with that reach."""
        self._connection.execute("SELECT set_config('pixelflow.reach', %s, false)", (reach,))
        function = self._functions[name]
        is_async = inspect.iscoroutinefunction(function)
        tap = _AsyncTap(self, name, reach) if is_async else _Tap(self, name, reach)
        answer = function(tap, *arguments, **named)
        return await answer if is_async else answer

    def execute(self, name: str, reach: str, statement: str, values: Any) -> _Answer:  # noqa: ANN401 - psycopg's Params
        """Send the statement, and keep it."""
        kept = self._keep(values)
        cursor = self._connection.execute(statement, values)
        rows = cursor.fetchall() if cursor.description else []
        for row, columns in enumerate(rows):
            for column, value in columns.items():
                self._learn(value, (len(self.steps), row, column))
        shown = [{name: encoded(value, self._start) for name, value in columns.items()} for columns in rows]
        self.steps.append(Step(name, reach, statement, kept, shown, cursor.rowcount))
        return _Answer(rows, cursor.rowcount)

    def _keep(self, values: Any) -> Json:  # noqa: ANN401 - psycopg's Params
        if isinstance(values, Mapping):
            return {name: encoded(value, self._start, self._place_of) for name, value in values.items()}
        return [encoded(value, self._start, self._place_of) for value in values or ()]

    def _place_of(self, value: object) -> Place | None:
        """Where the database made it up; what it did not, is given to it from now on."""
        if not isinstance(value, UUID | datetime | str):
            return None
        if value not in self._made_up:
            self._given.add(value)
        return self._made_up.get(value)

    def _learn(self, value: object, place: Place) -> None:
        """What came out of the database and never went in, it made up: an id, a moment."""
        if isinstance(value, UUID | datetime | str) and value not in self._given and not _is_word(value):
            self._made_up.setdefault(value, place)


def _is_word(value: object) -> bool:
    """Such as a status: of the database's own making, and the same every time."""
    return isinstance(value, str) and not value.startswith("msg_")


class _Answer:
    """A cursor whose rows are there already."""

    def __init__(self, rows: Sequence[DictRow], row_count: int) -> None:
        self._rows = list(rows)
        self.rowcount = row_count

    def fetchone(self) -> DictRow | None:
        return self._rows[0] if self._rows else None

    def fetchall(self) -> list[DictRow]:
        return self._rows


class _AsyncAnswer:
    def __init__(self, answer: _Answer) -> None:
        self._answer = answer
        self.rowcount = answer.rowcount

    async def fetchone(self) -> DictRow | None:
        return self._answer.fetchone()

    async def fetchall(self) -> list[DictRow]:
        return self._answer.fetchall()


class _Tap:
    """A connection, as far as the store's functions for workers know."""

    def __init__(self, recorder: Recorder, name: str, reach: str) -> None:
        self._recorder = recorder
        self._called = name, reach

    def execute(self, statement: str, values: Any = None) -> _Answer:  # noqa: ANN401 - psycopg's Params
        return self._recorder.execute(*self._called, statement, values)


class _AsyncTap(_Tap):
    """The same, for the others."""

    async def execute(self, statement: str, values: Any = None) -> _AsyncAnswer:  # type: ignore[override]  # noqa: ANN401
        return _AsyncAnswer(self._recorder.execute(*self._called, statement, values))
