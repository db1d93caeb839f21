"""All that is wrong with a request at once, each with a pointer to it. It never repeats a value: it may be a secret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from pixelflow.contracts.error_messages import error_message
from pixelflow.contracts.errors import FieldError
from pixelflow.contracts.jobs import source_errors
from pixelflow.contracts.pipeline import ACTIONS, CROSS_FIELD_ERROR, MAX_STEPS, pipeline_errors


def field_errors(
    rows: Sequence[Mapping[str, Any]], raw: object, *, max_source_bytes: int | None = None
) -> list[FieldError]:
    """All that is wrong with the body ``raw`` of ``POST /v1/jobs``.

    Args:
        rows: of Pydantic's error.
        raw: the body, as it came; what Pydantic leaves out where single fields are wrong is told from it.
        max_source_bytes: what may be declared, where that is known.
    """
    told = [(_pointer(row["loc"], raw), error_message(row)) for row in rows if row["type"] != CROSS_FIELD_ERROR]
    # A value that may be one of several things is told once, with what each of them would ask for.
    fields = [
        FieldError(pointer=pointer, message="; or: ".join(message for _, message in messages))
        for pointer, messages in groupby(told, key=itemgetter(0))
    ]
    return sorted(fields + _whole_errors(raw, max_source_bytes), key=_place)


def _whole_errors(raw: object, max_source_bytes: int | None) -> list[FieldError]:
    """What is wrong though no single field is."""
    if not isinstance(raw, dict):
        return []
    source, steps = raw.get("source"), raw.get("pipeline")
    fields = source_errors(raw)
    if isinstance(source, dict) and max_source_bytes is not None:
        fields += length_errors(source.get("content_length"), max_source_bytes)
    whole = pipeline_errors(steps[:MAX_STEPS]) if isinstance(steps, list) else []
    return fields + [FieldError(pointer=f"/pipeline{error.pointer}", message=error.message) for error in whole]


def _place(error: FieldError) -> list[tuple[int, str]]:
    """For sorting by pointer: by name, and the third step before the eleventh."""
    return [(len(part) if part.isdecimal() else 0, part) for part in error.pointer.split("/")]


def length_errors(content_length: object, max_source_bytes: int) -> list[FieldError]:
    """What is wrong with the declared length where sources may have so many bytes."""
    if not isinstance(content_length, int) or content_length <= max_source_bytes:
        return []
    return [FieldError(pointer="/source/content_length", message=f"must be at most {max_source_bytes} bytes")]


def _pointer(location: tuple[int | str, ...], raw: object) -> str:
    """The JSON Pointer of ``location``, without what Pydantic puts between: a step's action, the members of a union."""
    parts: list[str] = []
    value: Any = raw
    after_index = False
    for part in location:
        if after_index and part in ACTIONS:
            after_index = False
            continue
        after_index = isinstance(value, list) and isinstance(part, int)
        if isinstance(value, dict):
            value = value.get(part)
        elif after_index:
            value = value[part]
        else:
            continue
        parts.append(str(part).replace("~", "~0").replace("/", "~1"))
    return "".join(f"/{part}" for part in parts)
