"""A tape: every statement that a release's store sends, in the order of one story, and what was answered.

Values are kept so that the story can be told again: moments as seconds since its beginning, and what the database made
up (an id, a moment) as the place in an answer where it came from. Reads and writes its file; touches no database.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

TAPES = Path(__file__).parent / "tapes"

Json = Any
"""What a JSON document may hold."""
Place = tuple[int, int, str]
"""Step, row and column of a value in the answers."""


@dataclass(frozen=True)
class Step:
    """One statement."""

    function: str
    """Of the store, such as ``jobs.find``."""
    reach: str
    statement: str
    values: Json
    rows: list[dict[str, Json]]
    row_count: int


@dataclass(frozen=True)
class Tape:
    """All statements of a release."""

    release: str
    migrations: list[str]
    """Names of the files that its schema was made by."""
    steps: list[Step]


def file_of(release: str) -> Path:
    """Where the release's tape lies."""
    return TAPES / f"{release}.json"


def write(tape: Tape) -> None:
    """Keep it."""
    file_of(tape.release).write_text(json.dumps(asdict(tape), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path) -> Tape:
    """What was kept."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    return Tape(raw["release"], raw["migrations"], [Step(**step) for step in raw["steps"]])


_KINDS: dict[str, tuple[type, Callable[[Any], Json], Callable[[Any], object]]] = {
    "uuid": (UUID, str, UUID),
    "interval": (timedelta, timedelta.total_seconds, lambda seconds: timedelta(seconds=seconds)),
    "bytes": (bytes, bytes.hex, bytes.fromhex),
    "number": (Decimal, str, Decimal),
    "jsonb": (Jsonb, lambda value: value.obj, Jsonb),
}
"""What JSON has no word for: its type, the way there and the way back."""


def encoded(value: object, start: datetime, place_of: Callable[[object], Place | None] = lambda _: None) -> Json:
    """A value as it is kept; ``place_of`` tells where the database made it up, if it did."""
    if place := place_of(value):
        return {"answer": list(place)}
    if isinstance(value, datetime):
        return {"seconds": (value - start).total_seconds()}
    if isinstance(value, date):
        return {"day": value.isoformat()}
    if isinstance(value, list):
        return {"list": [encoded(each, start, place_of) for each in value]}
    for kind, (type_, keep, _) in _KINDS.items():
        if isinstance(value, type_):
            return {kind: keep(value)}
    return {"jsonb": value} if isinstance(value, dict) else value


def decoded(kept: Json, start: datetime, answers: Sequence[Sequence[Mapping[str, object]]]) -> object:
    """The value again, in a story that begins at ``start`` and has had these ``answers`` so far."""
    if not isinstance(kept, dict):
        return kept
    [(kind, content)] = kept.items()
    if kind == "answer":
        step, row, column = content
        return answers[step][row][column]
    if kind == "seconds":
        return start + timedelta(seconds=content)
    if kind == "list":
        return [decoded(each, start, answers) for each in content]
    return _KINDS[kind][2](content)


def now() -> datetime:
    """When a story begins."""
    return datetime.now(UTC)
