"""Validation that reports cross-field errors together with the errors of single fields.

Pydantic skips ``after`` validators when a field is invalid, so the client would learn of cross-field errors only from a
second request. Models with cross-field rules therefore use wrap validators that call ``validate``. No error holds the
value that failed: it may be a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import ErrorType

T = TypeVar("T")

CROSS_FIELD_ERROR = "cross_field"
"""Error type for rules that involve several fields."""

MISSING = "is required"
"""Message for a field that only some requests need: reported as Pydantic reports a missing field."""

CrossFieldError = tuple[tuple[int | str, ...], str]
"""Location, relative to the value that is checked, and message."""

MAX_COPIED_ERRORS = 101
"""Limit of the errors of single fields that are reported together with cross-field errors.

Each nested model copies the errors again. Without the limit, a body of 0.9 MB with 90 000 unknown fields and a
cross-field error on each level took 7 s. One more than the API lists, so that it still reports that there are more.
"""

_BUILT_IN = frozenset[str](get_args(ErrorType))


def validate(value: object, handler: Callable[[Any], T], check: Callable[[object], Iterable[CrossFieldError]]) -> T:
    """Validate ``value`` with Pydantic's ``handler`` and with the cross-field rules of ``check``.

    Args:
        value: the input of a wrap validator.
        handler: the handler of a wrap validator.
        check: called with the result of ``handler``, or with ``value`` itself if the handler rejects it.

    Raises:
        ValidationError: has the errors of both, at most ``MAX_COPIED_ERRORS`` of them from ``handler`` if ``check``
            finds any.
    """
    checked: Any = value
    rejected: ValidationError | None = None
    try:
        checked = handler(value)
    except ValidationError as error:
        rejected = error
    found = [_cross_field(*error) for error in check(checked)]
    if found:
        found += [_copied(row) for row in _rows(rejected)[:MAX_COPIED_ERRORS]]
        raise ValidationError.from_exception_data("request", found, hide_input=True)
    if rejected is not None:
        raise rejected
    result: T = checked
    return result


def rebuild(rows: Iterable[ErrorDetails]) -> ValidationError:
    """Return an error with these rows of another one, without the values that failed."""
    return ValidationError.from_exception_data("request", [_copied(row) for row in rows], hide_input=True)


def fields_of(value: object) -> Mapping[str, object] | None:
    """The fields of a model or of a raw JSON object by their JSON names; None if ``value`` is neither."""
    if isinstance(value, BaseModel):
        return {field.alias or name: getattr(value, name) for name, field in type(value).model_fields.items()}
    return value if isinstance(value, Mapping) else None


def _cross_field(location: tuple[int | str, ...], message: str) -> InitErrorDetails:
    if message == MISSING:
        return InitErrorDetails(type="missing", loc=location, input=None)
    return InitErrorDetails(type=PydanticCustomError(CROSS_FIELD_ERROR, message), loc=location, input=None)


def _rows(error: ValidationError | None) -> list[ErrorDetails]:
    return [] if error is None else error.errors(include_url=False, include_input=False)


def _copied(row: ErrorDetails) -> InitErrorDetails:
    built_in = row["type"] in _BUILT_IN
    return InitErrorDetails(
        type=row["type"] if built_in else PydanticCustomError(row["type"], row["msg"]),
        loc=row["loc"],
        input=None,
        ctx=row.get("ctx", {}) if built_in else {},
    )
