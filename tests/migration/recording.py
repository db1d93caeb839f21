"""Recorded statements: every statement that a release's stores send, in the order of one scenario, with the results.

Values are stored in a form that can be replayed: times as seconds since the start, and values that the database
generated (an ID, a time) as the place in a result that they came from. Reads and writes the files; uses no database.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

RECORDINGS = Path(__file__).parent / "recordings"

Json = Any
"""A value of a JSON document."""
Place = tuple[int, int, str]
"""Statement, row and column of a value in the results."""


@dataclass(frozen=True)
class RecordedStatement:
    """One statement with its result."""

    function: str
    """The store's function that sent it, such as ``jobs.find``."""
    scope: str
    statement: str
    values: Json
    rows: list[dict[str, Json]]
    row_count: int


@dataclass(frozen=True)
class Recording:
    """All statements of a release."""

    release: str
    migrations: list[str]
    """Names of the files that its schema consists of."""
    statements: list[RecordedStatement]


def file_of(release: str) -> Path:
    """The path of the release's recording."""
    return RECORDINGS / f"{release}.json"


def write(recording: Recording) -> None:
    """Write the recording to its file."""
    text = json.dumps(asdict(recording), indent=1, ensure_ascii=False)
    RECORDINGS.mkdir(exist_ok=True)
    file_of(recording.release).write_text(f"{text}\n", encoding="utf-8")


def read(path: Path) -> Recording:
    """Read a recording."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    return Recording(raw["release"], raw["migrations"], [RecordedStatement(**each) for each in raw["statements"]])


_KINDS: dict[str, tuple[type, Callable[[Any], Json], Callable[[Any], object]]] = {
    "uuid": (UUID, str, UUID),
    "interval": (timedelta, timedelta.total_seconds, lambda seconds: timedelta(seconds=seconds)),
    "bytes": (bytes, bytes.hex, bytes.fromhex),
    "number": (Decimal, str, Decimal),
    "jsonb": (Jsonb, lambda value: value.obj, Jsonb),
}
"""Types that JSON lacks, each with its encoder and decoder."""


def encode(value: object, start: datetime, place_of: Callable[[object], Place | None] = lambda _: None) -> Json:
    """Encode a value; ``place_of`` returns where the database generated it, if it did."""
    if place := place_of(value):
        return {"result": list(place)}
    if isinstance(value, datetime):
        return {"seconds": (value - start).total_seconds()}
    if isinstance(value, date):
        return {"days": (value - start.date()).days}
    if isinstance(value, list):
        return {"list": [encode(each, start, place_of) for each in value]}
    for kind, (type_, encode_as, _) in _KINDS.items():
        if isinstance(value, type_):
            return {kind: encode_as(value)}
    return {"jsonb": value} if isinstance(value, dict) else value


def decode(encoded: Json, start: datetime, results: Sequence[Sequence[Mapping[str, object]]]) -> object:
    """Decode a value for a replay that began at ``start`` and has had these ``results`` so far."""
    if not isinstance(encoded, dict):
        return encoded
    [(kind, content)] = encoded.items()
    if kind == "result":
        statement, row, column = content
        return results[statement][row][column]
    if kind == "seconds":
        return start + timedelta(seconds=content)
    if kind == "days":
        return start.date() + timedelta(days=content)
    if kind == "list":
        return [decode(each, start, results) for each in content]
    return _KINDS[kind][2](content)


def is_snapshot(value: str) -> bool:
    """Whether the value is a snapshot of the database, which differs in each replay."""
    return bool(re.fullmatch(r"[0-9]+:[0-9]+:[0-9,]*", value))


def now() -> datetime:
    """The start of a scenario or a replay."""
    return datetime.now(UTC)
