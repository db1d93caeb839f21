"""Checks of the arguments of operations: an error names the argument and what it accepts. Never repeats a value."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from pydantic import BaseModel

T = TypeVar("T")
_STEP = '{"id": "thumb", "action": "resize", "width": 640}'
_DESTINATION = '{"bucket": "public", "key": "{step}-{sha256}.{ext}"}'


def require(value: object, kind: type[T], name: str, accepted: str) -> T:
    """Return ``value`` if it is a ``kind``.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(value, kind):
        raise _wrong_type(value, name, accepted)
    return value


def _wrong_type(value: object, name: str, accepted: str) -> TypeError:
    return TypeError(f"`{name}` must be {accepted}, not {type(value).__name__}")


def to_uuid(value: object, name: str) -> UUID:
    """Return the ID that ``value`` is or holds.

    Raises:
        TypeError: it is neither a UUID nor a string.
        ValueError: it is a string, but no UUID.
    """
    if isinstance(value, UUID):
        return value
    try:
        return UUID(require(value, str, name, "a UUID, or a string with one"))
    except ValueError:
        raise ValueError(f"`{name}` must be a UUID such as 0198f2c4-5c1e-7d3a-9b60-2f1d4c8e7a55") from None


def to_path(value: object, name: str = "path") -> Path:
    """Return the path of a file.

    Raises:
        TypeError: ``value`` is not a path.
    """
    if isinstance(value, str | os.PathLike):
        path = os.fspath(value)
        if isinstance(path, str):
            return Path(path)
    raise _wrong_type(value, name, "the path of a file, as `Path` or `str`")


def to_seconds(value: object, name: str) -> float | None:
    """Return a time in seconds; None is none.

    Raises:
        TypeError: ``value`` is not a number.
    """
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise _wrong_type(value, name, "seconds as a number, or None")


def to_mapping(value: object, name: str, example: str) -> dict[str, Any]:
    """Return a copy of a mapping.

    Raises:
        TypeError: ``value`` is not a mapping.
    """
    if not isinstance(value, Mapping):
        raise _wrong_type(value, name, f"a dict such as {example}")
    return dict(value)


def to_steps(pipeline: object) -> list[dict[str, Any]]:
    """Return the steps of a pipeline as JSON objects, with the fields that were set.

    Raises:
        TypeError: it is not a sequence of models or mappings.
    """
    if not isinstance(pipeline, Sequence) or isinstance(pipeline, str | bytes):
        raise _wrong_type(pipeline, "pipeline", f"a list of steps such as [{_STEP}]")
    return [to_object(step, f"pipeline[{index}]", _STEP) for index, step in enumerate(pipeline)]


def to_destination(value: object) -> dict[str, Any] | None:
    """Return a destination as a JSON object; None is none.

    Raises:
        TypeError: it is neither a model nor a mapping.
    """
    return None if value is None else to_object(value, "destination", _DESTINATION)


def to_object(value: object, name: str, example: str) -> dict[str, Any]:
    """Return a model or a mapping as a JSON object, with the fields that were set.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True, exclude_unset=True)
    return to_mapping(value, name, example)
