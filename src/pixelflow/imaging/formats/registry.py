"""All formats, by name. Loads no codec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pixelflow.imaging.discovery import declared
from pixelflow.imaging.format import Format

FORMATS: Mapping[str, Format] = {format_.name: format_ for format_ in declared("pixelflow.imaging.formats", "FORMAT")}
INPUT_FORMATS: Mapping[str, Format] = {name: format_ for name, format_ in FORMATS.items() if format_.reads}
OUTPUT_FORMATS: Mapping[str, Format] = {name: format_ for name, format_ in FORMATS.items() if format_.writes}

if TYPE_CHECKING:
    OutputFormat = str
else:
    OutputFormat = Literal[tuple(OUTPUT_FORMATS)]
    """The name of a format that PixelFlow writes."""


_ALIASES = {alias: format_.name for format_ in FORMATS.values() for alias in format_.aliases}


def canonical_format(name: object) -> object:
    """Return the name of the format that has this alias; anything else unchanged."""
    return _ALIASES.get(name, name) if isinstance(name, str) else name


def output_name(step_id: str, format_: str) -> str:
    """The file name of an output in object storage and as a download."""
    return f"{step_id}.{FORMATS[format_].extension}"
