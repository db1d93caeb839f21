"""Translates the rows of a Pydantic ``ValidationError`` into field errors: a JSON Pointer and a message.

A message never repeats the value that is wrong: it may be a secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from pixelflow.contracts.corrections import Row, corrected, limits
from pixelflow.contracts.jobs.destinations import BUCKET_NAME_PATTERN, HEADER_PATTERN, METADATA_NAME_PATTERN
from pixelflow.contracts.jobs.requests import NO_NUL_PATTERN, WEBHOOK_URL_PATTERN
from pixelflow.contracts.keys import KEY_NAME_PATTERN
from pixelflow.contracts.preset_templates import PARAMETER_NAME_PATTERN
from pixelflow.contracts.presets import PRESET_NAME_PATTERN, PRESET_REFERENCE_PATTERN
from pixelflow.contracts.uploads import MEDIA_TYPE_PATTERN, SHA256_PATTERN
from pixelflow.cross_field import CROSS_FIELD_ERROR
from pixelflow.errors import FieldError, ValidationFailedError
from pixelflow.imaging.fields import COLOR_PATTERN, OPAQUE_COLOR_PATTERN, PERCENT_PATTERN, STEP_ID_PATTERN
from pixelflow.imaging.operations.registry import OPERATIONS

_EMPTY = "must not be empty"
_INTEGER = "must be an integer"
_OBJECT = "must be an object"
_DATE = "must be a date such as 2030-01-31"
_TIME = "must be a time such as 2030-01-31T12:00:00Z"
_MESSAGES = {
    "missing": "is required",
    "extra_forbidden": "is an unknown field; remove it",
    "union_tag_invalid": "must be one of {expected_tags}",
    "union_tag_not_found": "is required",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "string_type": "must be a string",
    "string_unicode": "must be valid Unicode",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
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
    "tuple_type": "must be an array",
    "dict_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
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
    BUCKET_NAME_PATTERN: "must be a name of lower-case letters, digits and `-`, such as `shop-images`",
    COLOR_PATTERN: "must be a color such as #ff8800, or a CSS name such as `orange`",
    HEADER_PATTERN: "must have printable ASCII characters only",
    KEY_NAME_PATTERN: "must not contain control characters",
    MEDIA_TYPE_PATTERN: "must be a media type such as image/jpeg",
    METADATA_NAME_PATTERN: "must have lower-case letters, digits and `-` only",
    NO_NUL_PATTERN: "must not contain NUL characters",
    OPAQUE_COLOR_PATTERN: "must be a color without transparency, such as #ff8800",
    PARAMETER_NAME_PATTERN: "must start with a lower-case letter and have at most 32 letters, digits or `_`",
    PERCENT_PATTERN: "must be a percentage from 0% to 100%, such as 40%",
    PRESET_NAME_PATTERN: "must have 1 to 64 characters: lower-case letters, digits or `-`; such as `avatar`",
    PRESET_REFERENCE_PATTERN: "must be the name of a preset, or its name and a version, such as `avatar@3`",
    SHA256_PATTERN: "must be a SHA-256: 64 lower-case hexadecimal digits",
    STEP_ID_PATTERN: "must have 1 to 64 characters: letters, digits, `_` or `-`; such as `photo-640`",
    WEBHOOK_URL_PATTERN: "must be a URL of visible ASCII characters, such as https://client.example/hooks",
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
            message=_corrected(row, raw, model) if index < MAX_SUGGESTIONS else error_message(row),
        )
        for index, row in enumerate(rows)
        if not _is_consequence(row, raw)
    ]
    # A key of `metadata` and its value have the same pointer, and may have the same error.
    return sorted(dict.fromkeys(fields), key=_document_order)


def validation_failed(errors: Sequence[FieldError], *, complete: bool = True) -> ValidationFailedError:
    """The error of a request with these fields. Its detail is the first fault.

    An error of an object is often a consequence of one of its fields, so a field comes first.
    """
    pointers = [error.pointer for error in errors]
    first = next(each for each in errors if not any(other.startswith(f"{each.pointer}/") for other in pointers))
    detail = f"`{first.pointer}` {first.message}" if first.pointer else f"The body {first.message}"
    if len(errors) > 1:
        detail += f" (the first of {len(errors)} errors)" if complete else f" (the first of over {len(errors)} errors)"
    return ValidationFailedError(detail, errors)


def error_message(row: Mapping[str, Any]) -> str:
    """The message of one row. PydanticCustomErrors from PixelFlow's models already have their final text."""
    if row["type"] == "string_pattern_mismatch":
        return PATTERN_MESSAGES[row["ctx"]["pattern"]]
    template = _MESSAGES.get(row["type"])
    if template is None:
        return str(row["msg"])
    context = limits(row.get("ctx", {}))
    return _EMPTY if context.get("min_length") == 1 else template.format_map(context)


def value_message(row: Mapping[str, Any]) -> str:
    """The message of a row that has its value, with what to change."""
    return corrected(Row(row["type"], error_message(row), row["loc"] or ("",), row.get("input"), None), None)


def _corrected(row: Mapping[str, Any], raw: object, model: type[BaseModel] | None) -> str:
    location = _location(row) or ("",)
    siblings = _value_at(location[:-1], raw)
    value = siblings.get(location[-1]) if isinstance(siblings, dict) else _value_at(location, raw)
    around = _value_at(location[:-2], raw)
    return corrected(Row(row["type"], error_message(row), location, value, siblings, around), model)


def _is_consequence(row: Mapping[str, Any], raw: object) -> bool:
    """Whether an array is reported as too short only because some of its entries are not valid."""
    if row["type"] != "too_short":
        return False
    entries = _value_at(_location(row), raw)
    return isinstance(entries, list) and len(entries) >= row["ctx"]["min_length"]


def _location(row: Mapping[str, Any]) -> tuple[int | str, ...]:
    """The location of a row. Pydantic reports a discriminator, such as ``action``, at the object that it belongs to."""
    discriminator = row.get("ctx", {}).get("discriminator")
    location: tuple[int | str, ...] = row["loc"]
    return (*location, discriminator.strip("'")) if discriminator else location


def _document_order(error: FieldError) -> list[tuple[int, str]]:
    """Sort key of a pointer: fields by name, array entries by index, so that step 2 precedes step 10."""
    return [(len(part) if part.isdecimal() else 0, part) for part in error.pointer.split("/")]


def _pointer(row: Mapping[str, Any], raw: object) -> str:
    location = _location(row)
    absent = location[-1:] if row["type"] in _ABSENT else ()
    parts = [str(part).replace("~", "~0").replace("/", "~1") for part, _ in _walk(location, raw, absent)]
    return "".join(f"/{part}" for part in parts)


def _value_at(location: Iterable[int | str], raw: object) -> object:
    return next(reversed([raw, *(value for _, value in _walk(location, raw))]))


def _walk(
    location: Iterable[int | str], raw: object, absent: Sequence[int | str] = ()
) -> Iterator[tuple[int | str, object]]:
    """The parts of a location that are in ``raw`` or ``absent``, each with its value.

    Pydantic adds others: a step's action, members of a union.
    """
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
        yield part, value
