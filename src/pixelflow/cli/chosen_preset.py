"""The preset that the options of a command name, with its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import typer

from pixelflow.cli.credentials import find_session
from pixelflow.cli.pipelines import Step
from pixelflow.client import Client
from pixelflow.contracts.preset_templates import ParameterType, Scalar

_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True)
class ChosenPreset:
    """A version of a preset, and values of its parameters."""

    reference: str
    """Name and version: a version that is saved meanwhile does not change what a command does."""
    steps: list[Step]
    """With placeholders."""
    parameters: Mapping[str, Scalar]


def find_preset(reference: str, pairs: Sequence[str]) -> ChosenPreset:
    """Return the preset, with the values of ``pairs`` in the types that it declares.

    Raises:
        ClientError: the API has no such preset, or can't be reached.
    """
    values = parse_pairs(pairs, "--param", "size=200")
    with Client(session=find_session()) as client:
        preset = client.get_preset(reference)
    types = {name: str(declared.get("type")) for name, declared in preset.parameters.items()}
    parameters = {name: _typed(value, types.get(name, "")) for name, value in values.items()}
    return ChosenPreset(f"{preset.name}@{preset.version}", preset.pipeline, parameters)


def parse_pairs(pairs: Sequence[str], option: str, example: str) -> dict[str, str]:
    """Return the pairs ``KEY=VALUE`` of an option."""
    if any("=" not in pair for pair in pairs):
        raise typer.BadParameter(f"must be KEY=VALUE, such as {example}", param_hint=option)
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


def _typed(value: str, type_: str) -> Scalar:
    """Convert a value. One that is not of the type stays a string, and the API says so."""
    try:
        if type_ == ParameterType.INTEGER:
            return int(value)
        if type_ == ParameterType.NUMBER:
            return float(value)
    except ValueError:
        return value
    return _BOOLEANS.get(value.lower(), value) if type_ == ParameterType.BOOLEAN else value
