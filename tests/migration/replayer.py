"""Replays recorded statements on a database, and reports results that differ from the recorded ones.

A newer schema may add to a result; everything recorded must still be there. Values that the database generates are
compared by type only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from operator import itemgetter
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import DictRow
from tests.migration.recording import Json, RecordedStatement, Recording, decode, encode, now

_TRANSACTIONS = {"snapshot", "xmax", "change"}
"""Columns with numbers of transactions, which differ in each replay."""
_JSON_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00")
"""A time of the database within JSON."""
Results = list[Sequence[DictRow]]


def replay(connection: psycopg.Connection[DictRow], recording: Recording) -> list[str]:
    """Send all statements to empty tables; returns the differences, an empty list if there are none."""
    start, results, differences = now(), Results(), list[str]()
    for number, recorded in enumerate(recording.statements):
        connection.execute("SELECT set_config('pixelflow.tenant_scope', %s, false)", (recorded.scope,))
        name = f"{number} {recorded.function}"
        try:
            rows, row_count = _send(connection, recorded, start, results)
        except (psycopg.Error, LookupError) as error:
            results.append([])
            differences.append(f"{name}: {type(error).__name__} {error}")
            continue
        results.append(rows)
        if not _matches(recorded, rows, row_count, start):
            differences.append(f"{name}: {recorded.rows} ({recorded.row_count}) became {rows} ({row_count})")
    return differences


def _send(
    connection: psycopg.Connection[DictRow], recorded: RecordedStatement, start: datetime, results: Results
) -> tuple[Sequence[DictRow], int]:
    values: Any = (
        {name: decode(value, start, results) for name, value in recorded.values.items()}
        if isinstance(recorded.values, dict)
        else [decode(value, start, results) for value in recorded.values]
    )
    # psycopg prepares statements that it has sent a few times, so plans from before a migration are used after it.
    cursor = connection.execute(recorded.statement, values, prepare=True)
    return cursor.fetchall() if cursor.description else [], cursor.rowcount


def _matches(recorded: RecordedStatement, rows: Sequence[DictRow], row_count: int, start: datetime) -> bool:
    if row_count != recorded.row_count or len(rows) != len(recorded.rows):
        return False
    expected = recorded.rows
    if recorded.function == "stats.count_by_status":  # without ORDER BY: the order depends on the plan
        expected, rows = sorted(expected, key=itemgetter("status")), sorted(rows, key=itemgetter("status"))
    for before, row in zip(expected, rows, strict=True):
        if list(before) != list(row):
            return False
        if not all(_value_matches(before[name], row[name], start) for name in row.keys() - _TRANSACTIONS):
            return False
    return True


def _value_matches(before: Json, value: object, start: datetime) -> bool:
    if isinstance(value, UUID | date):
        return isinstance(before, dict) and before.keys() == encode(value, start).keys()
    if isinstance(value, float):  # a time that has passed
        return isinstance(before, float)
    if isinstance(value, str) and value.startswith("msg_"):
        return isinstance(before, str) and before.startswith("msg_")
    return _contains(encode(value, start), before)


def _contains(after: Json, before: Json) -> bool:
    """Whether everything of ``before`` is in ``after``."""
    if isinstance(before, dict):
        return isinstance(after, Mapping) and all(
            name in after and _contains(after[name], value) for name, value in before.items()
        )
    if isinstance(before, list):
        return isinstance(after, list) and len(after) == len(before) and all(map(_contains, after, before))
    if isinstance(before, str) and _JSON_TIME.fullmatch(before):
        return isinstance(after, str) and _JSON_TIME.fullmatch(after) is not None
    return bool(after == before)
