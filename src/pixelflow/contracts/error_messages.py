"""What is wrong with a value, in words for whoever sent it, by the type that Pydantic gives the error.

Never repeats the value: it may be a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WHOLE = "must be a whole number"
_OBJECT = "must be an object"
_DAY = "must be a day such as 2030-01-31"
_SENTENCES = {
    "missing": "is required",
    "extra_forbidden": "unknown field; remove it",
    "union_tag_invalid": "{discriminator} must be one of {expected_tags}",
    "union_tag_not_found": "{discriminator} is required",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "string_type": "must be a text",
    "string_unicode": "must be a text",
    "string_too_short": "has too few characters: at least {min_length}",
    "string_too_long": "has too many characters: at most {max_length}",
    "string_pattern_mismatch": "must match the pattern {pattern}",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list",
    "set_type": "must be a list",
    "frozen_set_type": "must be a list",
    "dict_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "too_short": "has too few entries: at least {min_length}",
    "too_long": "has too many entries: at most {max_length}",
    "datetime_parsing": "must be a time such as 2030-01-31T12:00:00Z",
    "datetime_from_date_parsing": "must be a time such as 2030-01-31T12:00:00Z",
    "datetime_type": "must be a time such as 2030-01-31T12:00:00Z",
    "timezone_aware": "must be a time with its zone, such as 2030-01-31T12:00:00Z",
    "date_parsing": _DAY,
    "date_type": _DAY,
    "date_from_datetime_parsing": _DAY,
    "date_from_datetime_inexact": _DAY,
    "uuid_parsing": "must be a UUID",
    "uuid_type": "must be a UUID",
}


def error_message(row: Mapping[str, Any]) -> str:
    """What one row of a ``ValidationError`` says. Our own errors (``PydanticCustomError``) have their words already."""
    template = _SENTENCES.get(row["type"])
    if template is None:
        return str(row["msg"])
    return template.format_map({name: _quoted(value) for name, value in row.get("ctx", {}).items()})


def _quoted(value: object) -> object:
    """Names that Pydantic gives in single quotes, marked as everywhere in PixelFlow's messages."""
    return value.replace("'", "`") if isinstance(value, str) else value
