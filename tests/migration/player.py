"""Plays a tape on a database, and tells what is answered otherwise than it was.

A newer schema may add to what an answer holds; what was there has to be there still. What the database makes up is as
good as what it made up then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import DictRow
from tests.migration.tape import Json, Step, Tape, decoded, encoded, now

Answers = list[Sequence[DictRow]]


def play(connection: psycopg.Connection[DictRow], tape: Tape) -> list[str]:
    """Send all its statements; returns what is not as it was, at best nothing. The tables have to be empty."""
    start, answers, differences = now(), Answers(), list[str]()
    for number, step in enumerate(tape.steps):
        connection.execute("SELECT set_config('pixelflow.reach', %s, false)", (step.reach,))
        try:
            rows, row_count = _send(connection, step, start, answers)
        except (psycopg.Error, LookupError) as error:
            answers.append([])
            differences.append(f"{number} {step.function}: {type(error).__name__} {error}")
            continue
        answers.append(rows)
        if not _is_as_it_was(step, rows, row_count, start):
            differences.append(f"{number} {step.function}: {step.rows} ({step.row_count}) became {rows} ({row_count})")
    return differences


def _send(
    connection: psycopg.Connection[DictRow], step: Step, start: datetime, answers: Answers
) -> tuple[Sequence[DictRow], int]:
    values: Any = (
        {name: decoded(value, start, answers) for name, value in step.values.items()}
        if isinstance(step.values, dict)
        else [decoded(value, start, answers) for value in step.values]
    )
    # As psycopg does of itself with what it has sent a few times: a plan of before the migration is used after it.
    cursor = connection.execute(step.statement, values, prepare=True)
    return cursor.fetchall() if cursor.description else [], cursor.rowcount


def _is_as_it_was(step: Step, rows: Sequence[DictRow], row_count: int, start: datetime) -> bool:
    if row_count != step.row_count or len(rows) != len(step.rows):
        return False
    for was, row in zip(step.rows, rows, strict=True):
        if list(was) != list(row):
            return False
        if not all(_matches(was[name], value, start) for name, value in row.items()):
            return False
    return True


def _matches(was: Json, value: object, start: datetime) -> bool:
    if isinstance(value, UUID | date):
        return isinstance(was, dict) and was.keys() == encoded(value, start).keys()
    if isinstance(value, str) and value.startswith("msg_"):
        return isinstance(was, str) and was.startswith("msg_")
    now_ = encoded(value, start)
    return _holds(now_, was)


def _holds(now_: Json, was: Json) -> bool:
    """Whether all that ``was`` is there still."""
    if isinstance(was, dict):
        return isinstance(now_, Mapping) and all(name in now_ and _holds(now_[name], was[name]) for name in was)
    if isinstance(was, list):
        return isinstance(now_, list) and len(now_) == len(was) and all(map(_holds, now_, was))
    return bool(now_ == was)
