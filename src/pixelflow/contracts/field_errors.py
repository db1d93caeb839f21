"""Translates the rows of a Pydantic ``ValidationError`` into field errors: a JSON Pointer and a message.

A message never repeats the value that is wrong: it may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from pixelflow.contracts.jobs import NO_NUL_PATTERN, WEBHOOK_URL_PATTERN
from pixelflow.contracts.keys import KEY_NAME_PATTERN
from pixelflow.contracts.suggestions import FIELDS, VALUES, fields_at, misnamed, similar
from pixelflow.contracts.uploads import MEDIA_TYPE_PATTERN, SHA256_PATTERN
from pixelflow.cross_field import CROSS_FIELD_ERROR
from pixelflow.errors import FieldError
from pixelflow.imaging.color_names import COLOR_NAMES
from pixelflow.imaging.fields import COLOR_PATTERN, OPAQUE_COLOR_PATTERN, PERCENT_PATTERN, STEP_ID_PATTERN
from pixelflow.imaging.operations.registry import OPERATIONS

_INTEGER = "must be an integer"
_OBJECT = "must be an object"
_DATE = "must be a date such as 2030-01-31"
_TIME = "must be a time such as 2030-01-31T12:00:00Z"
_MESSAGES = {
    "missing": "is required",
    "extra_forbidden": "unknown field; remove it",
    "union_tag_invalid": "must be one of {expected_tags}",
    "union_tag_not_found": "is required",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "string_type": "must be a string",
    "string_unicode": "must be valid Unicode",
    "string_too_short": "has too few characters: at least {min_length}",
    "string_too_long": "has too many characters: at most {max_length}",
    "int_type": _INTEGER,
    "int_parsing": _INTEGER,
    "int_parsing_size": _INTEGER,
    "int_from_float": _INTEGER,
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be an array",
    "set_type": "must be an array",
    "frozen_set_type": "must be an array",
    "dict_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "too_short": "has too few entries: at least {min_length}",
    "too_long": "has too many entries: at most {max_length}",
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "datetime_type": _TIME,
    "timezone_aware": "must be a time with its UTC offset, such as 2030-01-31T12:00:00Z",
    "date_parsing": _DATE,
    "date_type": _DATE,
    "date_from_datetime_parsing": _DATE,
    "date_from_datetime_inexact": _DATE,
    "uuid_parsing": "must be a UUID",
    "uuid_type": "must be a UUID",
}
PATTERN_MESSAGES = {
    COLOR_PATTERN: "must be a color such as #ff8800, or a CSS name such as `orange`",
    KEY_NAME_PATTERN: "must not contain control characters",
    MEDIA_TYPE_PATTERN: "must be a media type such as image/jpeg",
    NO_NUL_PATTERN: "must not contain NUL characters",
    OPAQUE_COLOR_PATTERN: "must be a color without transparency, such as #ff8800",
    PERCENT_PATTERN: "must be a percentage from 0% to 100%, such as 40%",
    SHA256_PATTERN: "must be a SHA-256: 64 lower-case hexadecimal digits",
    STEP_ID_PATTERN: "must have 1 to 64 characters: letters, digits, `_` or `-`",
    WEBHOOK_URL_PATTERN: "must be a URL of visible ASCII characters",
}
"""Messages for strings that don't match a pattern."""


_ABSENT = {"missing", "union_tag_not_found", CROSS_FIELD_ERROR}
"""Error types whose field may be absent; all others have a value in the request."""


MAX_SUGGESTIONS = 100
"""Errors with a suggestion. One takes up to 0.1 ms, and a request may have a hundred thousand errors."""


def field_errors(
    rows: Sequence[Mapping[str, Any]], raw: object, model: type[BaseModel] | None = None
) -> list[FieldError]:
    """Everything that is wrong with a request, in document order.

    Args:
        rows: ``ValidationError.errors()``, with locations relative to ``raw``.
        raw: the request as it was validated; resolves locations to JSON Pointers.
        model: the model of the request; without it, unknown fields get no suggestion.
    """
    fields = [
        FieldError(
            pointer=_pointer(row, raw),
            message=_with_suggestion(row, raw, model) if index < MAX_SUGGESTIONS else error_message(row),
        )
        for index, row in enumerate(rows)
    ]
    # A key of `metadata` and its value have the same pointer, and may have the same error.
    return sorted(dict.fromkeys(fields), key=_document_order)


def error_message(row: Mapping[str, Any]) -> str:
    """The message of one row. PydanticCustomErrors from PixelFlow's models already have their final text."""
    if row["type"] == "string_pattern_mismatch":
        return PATTERN_MESSAGES[row["ctx"]["pattern"]]
    template = _MESSAGES.get(row["type"])
    if template is None:
        return str(row["msg"])
    return template.format_map({name: _with_backticks(value) for name, value in row.get("ctx", {}).items()})


# ── Suggestions ──────────────────────────────────────────────────────────────────────────────────

_INVALID_VALUES = {"color_name", "enum", "literal_error", "union_tag_invalid", "union"}
"""Error types of names. The message of all but `color_name` lists the valid ones in backticks."""


def _with_suggestion(row: Mapping[str, Any], raw: object, model: type[BaseModel] | None) -> str:
    message, (*parents, field) = error_message(row), _location(row) or ("",)
    if row["type"] == "extra_forbidden" and model is not None:
        meant = similar(field, fields_at(model, parents), FIELDS)
        return f"unknown field; did you mean `{meant}`?" if meant else message
    if row["type"] in {"missing", "union_tag_not_found"}:
        used = misnamed(str(field), _value_at(raw, parents) or ())
        return f"{message}; rename `{used}` to `{field}`" if used else message
    if row["type"] in _INVALID_VALUES:
        value = _value_at(raw, [*parents, field])
        valid = COLOR_NAMES if row["type"] == "color_name" else re.findall(r"`([^`]+)`", message)
        meant = similar(value, valid, VALUES.get(str(field), {}))
        return f"{message}; did you mean `{meant}`?" if meant else message
    return message


def _value_at(raw: object, location: Iterable[int | str]) -> Any:  # noqa: ANN401 - JSON
    """The value at a location, whose parts that Pydantic adds are skipped."""
    value: Any = raw
    for part in location:
        if isinstance(value, dict):
            value = value.get(part, value)
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part]
    return value


def _location(row: Mapping[str, Any]) -> tuple[int | str, ...]:
    """The location of a row. Pydantic reports a discriminator, such as ``action``, at the object that it belongs to."""
    discriminator = row.get("ctx", {}).get("discriminator")
    location: tuple[int | str, ...] = row["loc"]
    return (*location, discriminator.strip("'")) if discriminator else location


def _with_backticks(value: object) -> object:
    return value.replace("'", "`") if isinstance(value, str) else value


def _document_order(error: FieldError) -> list[tuple[int, str]]:
    """Sort key of a pointer: fields by name, array entries by index, so that step 2 precedes step 10."""
    return [(len(part) if part.isdecimal() else 0, part) for part in error.pointer.split("/")]


def _pointer(row: Mapping[str, Any], raw: object) -> str:
    """The JSON Pointer of a row, without the parts that Pydantic adds: a step's action, members of a union."""
    location = _location(row)
    absent = location[-1:] if row["type"] in _ABSENT else ()
    parts: list[str] = []
    value: Any = raw
    after_index = False
    for part in location:
        if after_index and part in OPERATIONS:
            after_index = False
            continue
        after_index = isinstance(value, list) and isinstance(part, int)
        if isinstance(value, dict) and (part in value or part in absent):
            value = value.get(part)
        elif after_index:
            value = value[part]
        else:
            continue
        parts.append(str(part).replace("~", "~0").replace("/", "~1"))
    return "".join(f"/{part}" for part in parts)
