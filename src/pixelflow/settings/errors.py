"""The error of invalid settings, and its messages. A message repeats no value, which may be a secret, except a path."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from pixelflow.contracts.field_errors import error_message

PREFIX = "PIXELFLOW_"
_MESSAGES = {
    "ip_any_network": "must list networks such as 10.20.0.0/16 or fd00::/8, with no bits set after the prefix",
    "path_not_file": "must be the path of a file",
}
"""Messages for error types that only settings have."""


class SettingsError(Exception):
    """The environment is not valid; ``str()`` has one line per setting that is missing or not valid."""


def valid_values(model: type[BaseModel], raw: object) -> dict[str, Any]:
    """The values of the fields that are valid in ``raw``, and the defaults of all others."""
    given = raw if isinstance(raw, Mapping) else {}
    values: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        values[name] = None if field.is_required() else field.default
        if name in given:
            with suppress(ValidationError):
                adapter: TypeAdapter[Any] = TypeAdapter(field.rebuild_annotation())
                values[name] = adapter.validate_python(given[name])
    return values


def validation_messages(
    error: ValidationError, fields: Mapping[str, FieldInfo], misspelt: Mapping[str, str]
) -> list[str]:
    """One message per setting, the first error of each; and one per constraint that involves several settings.

    Args:
        error: the error of the model.
        fields: the model's settings by name.
        misspelt: variables that are set and no setting, by the variable that each resembles.
    """
    messages: dict[str, str] = {}
    for row in error.errors(include_url=False, include_input=False):
        if not row["loc"]:
            messages[row["msg"]] = f"{row['msg']}."
            continue
        name = str(row["loc"][0])
        if row["type"] == "missing":
            messages[name] = missing_message(name, fields[name], misspelt.get(variable(name)))
        else:
            text = f"{variable(name)} is not valid: {value_message(row)}. Description: {fields[name].description}."
            messages.setdefault(name, text)
    return list(messages.values())


def value_message(row: Mapping[str, Any]) -> str:
    """What is wrong with one value, for a row of ``ValidationError.errors()``."""
    return _MESSAGES.get(row["type"]) or error_message(row)


def missing_message(name: str, field: FieldInfo, misspelt: str | None = None) -> str:
    """The message for a required setting that is not set. ``misspelt`` is a variable that resembles it and is set."""
    rename = f"; rename {misspelt}" if misspelt else ""
    return f"{variable(name)} is not set{rename}. Description: {field.description}."


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{name.upper()}"
