"""What to change about an invalid field: the name or value that was meant, the valid range, or an example."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel

from pixelflow.contracts.known_fields import Node, example_at, fields_at, nodes_at, parent_of
from pixelflow.contracts.misplaced_fields import encoder_option, listed, own_step
from pixelflow.contracts.other_tools import FIELDS, HINTS, STEP_HINTS, VALUE_HINTS, VALUES
from pixelflow.contracts.suggestions import misnamed, normalize, similar
from pixelflow.imaging.color_names import COLOR_NAMES
from pixelflow.imaging.formats.registry import FORMATS, canonical_format
from pixelflow.imaging.operations.registry import OPERATIONS

Location = Sequence[int | str]

_PLACES = {"CreateJobRequest": "job", "CreateKeyRequest": "key", "CreateWebhookEndpointRequest": "endpoint"}
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
    around: object = None
    """The object that ``siblings`` is in."""


def corrected(row: Row, model: type[BaseModel] | None) -> str:
    """The message of ``row``, with what to change. Without a model, nothing is known of the other fields."""
    if "must be a color" in row.message:
        return _color(row)
    correction = _CORRECTIONS.get(row.type)
    return correction(row, model) if correction else row.message + _quotes(row)


# ── Names ────────────────────────────────────────────────────────────────────────────────────────


def _unknown_field(row: Row, model: type[BaseModel] | None) -> str:
    meant = _meant_field(row, model) if model else None
    return f"is an unknown field; {meant}" if meant else row.message


def _meant_field(row: Row, model: type[BaseModel]) -> str | None:
    """What to do about an unknown field, if more is known than to remove it."""
    *parents, field = row.location
    name, place = str(field), _place(parents, model)
    known = fields_at(model, parents)
    used: Collection[str] = row.siblings if isinstance(row.siblings, dict) else ()
    if place == "encoder":
        return encoder_option(name, row.around, used)
    is_step_field = place == "step" and parent_of(model, parents, name) is None
    return (
        _hint(name, place, row.siblings)
        or _did_you_mean(name, known - set(used))
        or (own_step(name, row.value, row.siblings) if is_step_field else None)
        or _did_you_mean(name, known)
        or (_elsewhere(name, parents, model) if known and name not in known else None)
    )


def _did_you_mean(name: str, known: Collection[str]) -> str | None:
    meant = similar(name, known, FIELDS)
    return f"did you mean `{meant}`?" if meant else None


def _elsewhere(name: str, parents: Location, model: type[BaseModel]) -> str | None:
    """Where a field belongs, or else which fields the object has, unless they are many."""
    names = [f"`{each}`" for each in sorted(fields_at(model, parents))]
    return _other_place(name, parents, model) or (
        f"the fields here are {listed(names)}" if len(names) <= _MAX_LISTED else None
    )


def _hint(field: str, place: str, siblings: object) -> str | None:
    """The entry of ``STEP_HINTS`` or ``HINTS`` for a field."""
    name = normalize(field)
    if place == "step" and isinstance(siblings, dict):
        of_action = STEP_HINTS.get(str(siblings.get("action")), {})
        if hint := of_action.get(name):
            return hint
    return HINTS.get(place, {}).get(name)


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
    return f"{row.message}; did you mean `{meant}`?" if meant else row.message + _value_hint(row)


def _value_hint(row: Row) -> str:
    """What to do about a value of another tool that is no value here."""
    if not isinstance(row.value, str):
        return ""
    field, value = str(row.location[-1]), normalize(row.value)
    if hint := VALUE_HINTS.get(field, {}).get(value.partition(":")[0]):
        return f"; {hint}"
    if field == "format" and (source := similar(canonical_format(value), FORMATS, VALUES["format"])):
        return f"; {FORMATS[source].label} is read, but not written"
    if unit := re.fullmatch(r"-?[0-9.]+\s*(px|deg|°)", row.value.strip()):
        return f"; write {'pixels' if unit[1] == 'px' else 'degrees'} as a number without a unit"
    return ""


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
    return message + _value_hint(row)


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
    **dict.fromkeys(["list_type", "set_type", "frozen_set_type", "tuple_type"], _container),
    **dict.fromkeys(["dict_type", "model_type", "model_attributes_type"], _container),
}
"""By error type. The message of a choice lists the valid names in backticks."""
