"""What is wrong with the settings, in sentences that name the variable. No value is repeated: it may be a secret."""

from __future__ import annotations

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

PREFIX = "PIXELFLOW_"


class SettingsError(Exception):
    """The environment can't be used; ``str()`` has one sentence per wrong or missing setting."""


def told(error: ValidationError, fields: dict[str, FieldInfo]) -> SettingsError:
    """What pydantic found, in our words; ``fields`` are those of the settings."""
    rows = error.errors(include_url=False, include_input=False)
    return SettingsError("\n".join(_sentence(row, fields) for row in rows))


def missing(name: str, fields: dict[str, FieldInfo]) -> str:
    """The sentence about a setting that is not there."""
    return f"{_variable(name)} is not set. {_meaning(name, fields)}"


def _sentence(row: ErrorDetails, fields: dict[str, FieldInfo]) -> str:
    if not row["loc"]:
        return f"{row['msg']}."
    name = str(row["loc"][0])
    if row["type"] == "missing":
        return missing(name, fields)
    return f"{_variable(name)} is wrong: {row['msg'][0].lower()}{row['msg'][1:]}. {_meaning(name, fields)}"


def _variable(name: str) -> str:
    return f"{PREFIX}{name.upper()}"


def _meaning(name: str, fields: dict[str, FieldInfo]) -> str:
    return f"It is: {fields[name].description}."
