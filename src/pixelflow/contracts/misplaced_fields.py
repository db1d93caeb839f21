"""Fields that are valid elsewhere: options of another format's encoder, and names of operations in another step."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pixelflow.contracts.other_tools import ENCODER_OPTIONS, FIELDS, OPERATION_FIELDS, VALUES
from pixelflow.contracts.suggestions import normalize, similar
from pixelflow.imaging.formats.registry import OUTPUT_FORMATS, canonical_format
from pixelflow.imaging.operations.registry import OPERATIONS
from pixelflow.imaging.step import Step


def encoder_option(name: str, step: object, used: Collection[str]) -> str | None:
    """Return what to do about an unknown option of ``encoder``: the option meant, or the formats that have it.

    Args:
        name: the option.
        step: the step that ``encoder`` is in, as it was sent.
        used: the other options that were sent.
    """
    format_ = OUTPUT_FORMATS.get(str(canonical_format(step.get("format")))) if isinstance(step, Mapping) else None
    if format_ is None:
        return None
    by_format = {each.label: [*each.options.model_fields] for each in OUTPUT_FORMATS.values() if each.options}
    known = by_format[format_.label]
    if meant := similar(name, {*known} - {*used}, ENCODER_OPTIONS):
        return f"did you mean `{meant}`?"
    if name in Step.model_fields:
        return "move it out of `encoder`"
    option = similar(name, {each for names in by_format.values() for each in names}, ENCODER_OPTIONS)
    owners = [label for label, names in by_format.items() if option in names and label != format_.label]
    elsewhere = f"{listed(owners)} {'have' if len(owners) > 1 else 'has'} `{option}`; " if owners else ""
    return f"{elsewhere}the options of {format_.label} are {listed([f'`{each}`' for each in sorted(known)])}"


def own_step(name: str, value: object, step: object) -> str | None:
    """Return what to do about an unknown field of a step that is an operation here, such as ``blur`` in a resize."""
    action = _operation_of(name, value)
    if action is None or (isinstance(step, Mapping) and step.get("action") == action):
        return None
    return f"add a step of its own, such as {_example(action, normalize(name))}"


def _operation_of(name: str, value: object) -> str | None:
    if "action" in FIELDS.get(normalize(name), ()):  # such as {"effect": "sepia"}
        return similar(value, OPERATIONS, VALUES["action"])
    normal = normalize(name)
    aliases = (*OPERATION_FIELDS.get(normal, ()), *VALUES["action"].get(normal, ()))
    return normal if normal in OPERATIONS else next(iter(aliases), None)


def _example(action: str, field: str) -> str:
    """A step with this action as JSON: the simplest of the operation's examples, if possible one with ``field``."""
    steps: Sequence[Mapping[str, Any]] = OPERATIONS[action].examples
    example = min(steps, key=lambda each: (field not in each, len(each)))
    return json.dumps({"id": action, **example}, ensure_ascii=False)


def listed(names: Sequence[str]) -> str:
    """Return names as a list in a sentence."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
