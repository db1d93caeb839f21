"""From the options of ``submit`` to the steps of a pipeline. Whether the steps are right is for the contract to say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pixelflow.client import InvalidRequestError
from pixelflow.contracts.pipeline import MAX_DIMENSION

MAX_FILE_BYTES = 1024 * 1024
"""As much as the API takes."""

Step = dict[str, Any]
Options = tuple[str | None, str | None, int | None, str | None]
"""Size, format, quality, watermark."""


def from_options(resize: str | None, format_: str | None, quality: int | None, watermark: str | None) -> list[Step]:
    """One output, made in one step or in two.

    Raises:
        InvalidRequestError: ``resize`` is no size, or there is nothing to do.
    """
    encoding = {name: value for name, value in {"format": format_, "quality": quality}.items() if value is not None}
    if watermark is not None:
        marked = {"action": "watermark", "watermark": {"text": watermark}} | encoding
        if resize is None:
            return [{"id": "marked"} | marked]
        resized = {"id": "resized", "action": "resize", "output": False} | _size(resize)
        return [resized, {"id": f"{resize}-marked", "from": "resized"} | marked]
    if resize is not None:
        return [{"id": resize, "action": "resize"} | _size(resize) | encoding]
    if encoding:
        # A box that no picture is larger than, and nothing is enlarged: the size stays.
        return [{"id": "converted", "action": "resize", "width": MAX_DIMENSION, "height": MAX_DIMENSION} | encoding]
    raise InvalidRequestError("Say what to make: --resize, --format, --quality, --watermark or --pipeline", ())


def from_file(path: Path) -> list[Step]:
    """The steps in a JSON file: a list of them, or an object whose ``pipeline`` is one.

    Raises:
        InvalidRequestError: the file holds something else.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
        found = json.loads(text) if len(text) <= MAX_FILE_BYTES else None
    except OSError as error:
        raise InvalidRequestError(f"{path} can't be read: {error.strerror}", ()) from error
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"{path} is not JSON: {error}", ()) from error
    steps = found["pipeline"] if isinstance(found, dict) and set(found) == {"pipeline"} else found
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise InvalidRequestError(f"{path} must hold a list of steps, or an object with nothing but `pipeline`", ())
    return steps


def output_ids(steps: list[Step]) -> list[str]:
    """The ids of the steps whose outputs are results."""
    return [str(step.get("id")) for step in steps if step.get("output", True)]


def _size(resize: str) -> Step:
    found = re.fullmatch(r"([0-9]{1,9})(?:x([0-9]{1,9}))?", resize)
    if found is None:
        raise InvalidRequestError(
            f"--resize {resize} is no size: give a width such as 640, or a box such as 640x480", ()
        )
    width, height = found.groups()
    return {"width": int(width)} | ({"height": int(height)} if height else {})
