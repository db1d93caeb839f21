"""The error of invalid settings, and its messages. A message repeats no value, which may be a secret, except a path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
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


def validation_messages(error: ValidationError, fields: Mapping[str, FieldInfo]) -> list[str]:
    """One message per setting, the first error of each; and one per constraint that involves several settings."""
    messages: dict[str, str] = {}
    for row in error.errors(include_url=False, include_input=False):
        if not row["loc"]:
            messages[row["msg"]] = f"{row['msg']}."
            continue
        name = str(row["loc"][0])
        if row["type"] == "missing":
            messages[name] = missing_message(name, fields[name])
        else:
            text = f"{variable(name)} is not valid: {value_message(row)}. Description: {fields[name].description}."
            messages.setdefault(name, text)
    return list(messages.values())


def value_message(row: Mapping[str, Any]) -> str:
    """What is wrong with one value, for a row of ``ValidationError.errors()``."""
    return _MESSAGES.get(row["type"]) or error_message(row)


def missing_message(name: str, field: FieldInfo) -> str:
    """The message for a required setting that is not set."""
    return f"{variable(name)} is not set. Description: {field.description}."


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{name.upper()}"
