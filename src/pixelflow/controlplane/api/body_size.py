"""Limits of a JSON body: of its bytes, and of its structure, checked before Pydantic validates it.

Pydantic validates every entry of an array before it reports that there are too many, and every unknown field has an
error of its own: without these limits, a body of 1 MiB takes a minute.
"""

from __future__ import annotations

from typing import TypeAlias

from pixelflow.contracts.field_errors import validation_failed
from pixelflow.errors import FieldError

MAX_BODY_BYTES = 128 * 1024
"""Of any route. 32 steps with every field take less than 40 KB."""
_SMALL_BODIES = {"/v1/keys": 4 * 1024, "/v1/webhook-endpoints": 8 * 1024}
"""Limits by the beginning of the path. A key has a name and scopes; a webhook endpoint has a URL of at most 2 KB."""
MAX_MEMBERS = 200
"""Fields of an object. A step has fewer than 50, ``metadata`` at most 32."""
MAX_ENTRIES = 200
"""Entries of an array. A redaction has at most 100 regions."""
MAX_DEPTH = 16
"""Objects and arrays within each other. A pipeline needs 6."""
MAX_VALUES = 20_000
"""Values of a body. 32 redactions of 100 regions have 16 000."""

_Path: TypeAlias = "tuple[_Path, str | int] | None"
"""The place of a value: that of its parent, and its own name or index there."""


def max_body_bytes(path: str) -> int:
    """The limit of the body of a request to ``path``."""
    return next((limit for prefix, limit in _SMALL_BODIES.items() if path.startswith(prefix)), MAX_BODY_BYTES)


def check_size(body: object) -> None:
    """Refuse a parsed JSON body that no valid request resembles. Takes time in proportion to the limits, not the body.

    Raises:
        ValidationFailedError: an object, an array, the nesting or the whole body exceeds its limit.
    """
    level: list[tuple[object, _Path]] = [(body, None)]
    values = 0
    for _ in range(MAX_DEPTH + 1):
        below: list[tuple[object, _Path]] = []
        for value, path in level:
            if isinstance(value, dict):
                _require(len(value) <= MAX_MEMBERS, path, f"has too many fields: at most {MAX_MEMBERS}")
                below += [(each, (path, key)) for key, each in value.items()]
            elif isinstance(value, list):
                _require(len(value) <= MAX_ENTRIES, path, f"has too many entries: at most {MAX_ENTRIES}")
                below += [(each, (path, index)) for index, each in enumerate(value)]
            _require(values + len(below) <= MAX_VALUES, None, f"has too many values: at most {MAX_VALUES}")
        if not below:
            return
        level, values = below, values + len(below)
    _require(False, level[0][1], f"is nested too deeply: at most {MAX_DEPTH} levels")


def _require(condition: bool, path: _Path, message: str) -> None:
    if condition:
        return
    parts: list[str] = []
    while path is not None:
        path, part = path
        parts.append(str(part).replace("~", "~0").replace("/", "~1"))
    pointer = "".join(f"/{part}" for part in reversed(parts))
    raise validation_failed([FieldError(pointer=pointer, message=message)])
