"""Messages for invalid values on the command line. Must not contain texts of Typer or Pydantic."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError
from typer import BadParameter

from pixelflow.contracts.corrections import Row, corrected
from pixelflow.contracts.field_errors import error_message, value_message


def message_of(error: BadParameter) -> str:
    """Return the message of ``error`` in the API's words."""
    if not isinstance(error.__cause__, ValidationError):
        return error.message
    row = error.__cause__.errors(include_url=False)[0]
    name = (error.param.name or "").strip("_") if error.param else ""
    if row["type"] == "value_error" and error.param is not None:
        choices = _message_of_choice(error.param.type_descriptor.annotation)
        return corrected(Row("enum", choices, (name,), row["input"], None), None) if choices else error.message
    return value_message({**row, "loc": (name,)})


def _message_of_choice(annotation: Any) -> str | None:  # noqa: ANN401 - a type, or a special form such as Literal
    """Return the message that lists the choices of an enumeration: Typer validates them itself, with its own text."""
    try:
        TypeAdapter(annotation).validate_python(None)
    except ValidationError as error:
        return error_message(error.errors(include_url=False)[0])
    return None
