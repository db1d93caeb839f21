"""What to change about an invalid field: the name or value that was meant, the valid range, or an example."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel

from pixelflow.contracts.known_fields import Node, example_at, fields_at, nodes_at, parent_of
from pixelflow.contracts.other_tools import FIELDS, HINTS, VALUES
from pixelflow.contracts.suggestions import misnamed, normalize, similar
from pixelflow.imaging.color_names import COLOR_NAMES
from pixelflow.imaging.operations.registry import OPERATIONS

Location = Sequence[int | str]

_PLACES = {"CreateJobRequest": "job", "CreateKeyRequest": "key"}
_MAX_EXAMPLE = 100
"""Characters of an example in a message."""
_MAX_LISTED = 8
"""Fields of an object that are listed."""
_HEX = re.compile(r"[0-9a-fA-F]{3,4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8}")
_FUNCTION = re.compile(r"\s*(rgb|hsl|hwb|lab|lch|oklab|oklch|color)a?\(", re.IGNORECASE)


class Row(NamedTuple):
    """An error of Pydantic: its type, its message as PixelFlow words it, and where it is."""

    type: str
    message: str
    location: Location
    value: object
    """The value at the location."""
    siblings: object
    """The object that the field is in, or should be."""


def corrected(row: Row, model: type[BaseModel] | None) -> str:
    """The message of ``row``, with what to change. Without a model, nothing is known of the other fields."""
    if "must be a color" in row.message:
        return _color(row)
    correction = _CORRECTIONS.get(row.type)
    return correction(row, model) if correction else row.message + _quotes(row)


# ── Names ────────────────────────────────────────────────────────────────────────────────────────


def _unknown_field(row: Row, model: type[BaseModel] | None) -> str:
    if model is None:
        return row.message
    *parents, field = row.location
    name = str(field)
    if hint := HINTS.get(_place(parents, model), {}).get(normalize(name)):
        return f"is an unknown field; {hint}"
    known = fields_at(model, parents)
    used: Collection[str] = row.siblings if isinstance(row.siblings, dict) else ()
    if meant := similar(name, known - set(used), FIELDS) or similar(name, known, FIELDS):
        return f"is an unknown field; did you mean `{meant}`?"
    if name in known | {*OPERATIONS} or not known:
        return row.message
    if place := _other_place(name, parents, model):
        return f"is an unknown field; {place}"
    listed = sorted(known)
    return f"is an unknown field; the fields here are {_listed(listed)}" if len(listed) <= _MAX_LISTED else row.message


def _place(parents: Location, model: type[BaseModel]) -> str:
    """The name under which ``HINTS`` has an object."""
    if not parents:
        return _PLACES.get(model.__name__, "")
    is_step = parents[0] == "pipeline" and len(parents) <= len(("pipeline", 0, "action"))
    return "step" if is_step else str(parents[-1])


def _other_place(field: str, parents: Location, model: type[BaseModel]) -> str | None:
    """Where a field belongs that is in the wrong object: in one of that object's own, or in one around it."""
    for name in (field, *FIELDS.get(normalize(field), ())):
        renamed = "" if name == field else f", as `{name}`"
        if inner := parent_of(model, parents, name):
            return f"move it into {inner}{renamed}"
        outer = list(parents)
        while outer:
            left = outer.pop()
            is_tag = bool(outer) and isinstance(outer[-1], int)
            if isinstance(left, str) and not is_tag and name in fields_at(model, outer):
                return f"move it out of `{left}`{renamed}"
    return None


def _missing(row: Row, model: type[BaseModel] | None) -> str:
    *_, field = row.location
    names = row.siblings if isinstance(row.siblings, dict) else {}
    if used := misnamed(str(field), names):
        return f"{row.message}; rename `{used}` to `{field}`"
    if field == "action":
        used = next((name for name in names if name in OPERATIONS), None)
        if used:
            return f'{row.message}; write `"action": "{used}"` and its fields beside it'
        return f"{row.message}, such as `resize`"
    return row.message + _example(row.location, model)


def _choice(row: Row, _: type[BaseModel] | None) -> str:
    valid = re.findall(r"`([^`]+)`", row.message)
    meant = similar(row.value, valid, VALUES.get(str(row.location[-1]), {}))
    return f"{row.message}; did you mean `{meant}`?" if meant else row.message


# ── Values ───────────────────────────────────────────────────────────────────────────────────────


def _color(row: Row) -> str:
    if isinstance(row.value, str):
        if _HEX.fullmatch(row.value.strip()):
            return f"{row.message}; start it with `#`"
        if _FUNCTION.match(row.value):
            return f"{row.message}; functions such as rgb() are not supported"
    meant = similar(row.value, COLOR_NAMES, VALUES["color"])
    return f"{row.message}; did you mean `{meant}`?" if meant else row.message


def _number(row: Row, model: type[BaseModel] | None) -> str:
    message = row.message + _range(nodes_at(model, row.location) if model else ())
    text = row.value.strip() if isinstance(row.value, str) else ""
    if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text):
        return f"{message}; remove the quotes"
    if text.endswith("%"):
        return f"{message}; percentages are not supported here"
    if re.fullmatch(r"[0-9.]+\s*px", text):
        return f"{message}; write pixels as a number without a unit"
    return message


def _range(nodes: Iterable[Node]) -> str:
    for node in nodes:
        if "minimum" in node and "maximum" in node:
            return f" from {plain(node['minimum'])} to {plain(node['maximum'])}"
        if "exclusiveMinimum" in node and "maximum" in node:
            return f" over {plain(node['exclusiveMinimum'])}, at most {plain(node['maximum'])}"
    return ""


def _quotes(row: Row) -> str:
    """What to do with a value of the right text and the wrong JSON type."""
    if row.type == "bool_type" and str(row.value).lower() in {"true", "false"}:
        return "; remove the quotes"
    if row.type == "string_type" and isinstance(row.value, int | float):
        return "; put it in quotes"
    return ""


def _example(location: Location, model: type[BaseModel] | None) -> str:
    found = example_at(model, location) if model else None
    text = json.dumps(found, ensure_ascii=False)
    return "" if found is None or len(text) > _MAX_EXAMPLE else f", such as {text}"


def _container(row: Row, model: type[BaseModel] | None) -> str:
    if row.location[-1] == "source" and isinstance(row.value, str):
        return f"{row.message}; {HINTS['job']['source_url']}"
    return row.message + _example(row.location, model)


def plain(value: object) -> object:
    """A limit as people write it: 360, not 360.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _listed(names: Sequence[str]) -> str:
    *others, last = [f"`{name}`" for name in names]
    return f"{', '.join(others)} and {last}" if others else last


def limits(context: Mapping[str, Any]) -> dict[str, object]:
    """The limits in the context of an error, as a message shows them."""
    return {
        name: value.replace("'", "`") if isinstance(value, str) else plain(value) for name, value in context.items()
    }


_Correction = Callable[[Row, type[BaseModel] | None], str]
_CORRECTIONS: Mapping[str, _Correction] = {
    "extra_forbidden": _unknown_field,
    **dict.fromkeys(["missing", "union_tag_not_found"], _missing),
    **dict.fromkeys(["enum", "literal_error", "union_tag_invalid", "union"], _choice),
    **dict.fromkeys(["int_type", "int_from_float", "int_parsing", "float_type", "float_parsing"], _number),
    **dict.fromkeys(["list_type", "set_type", "frozen_set_type", "dict_type", "model_type"], _container),
    "model_attributes_type": _container,
}
"""By error type. The message of a choice lists the valid names in backticks."""
