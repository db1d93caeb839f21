"""Pipeline steps from the options of ``submit`` or from a file. Must not validate steps: the contract does that."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pixelflow.client import InvalidRequestError

MAX_FILE_BYTES = 1024 * 1024
"""The API's limit for a request body."""

Step = dict[str, Any]


def steps_from_options(
    *, resize: str | None, format_: str | None, quality: int | None, watermark: str | None
) -> list[Step]:
    """Return the one or two steps that produce a single output.

    Raises:
        InvalidRequestError: ``resize`` is not a size, or no option is set.
    """
    encoding = {name: value for name, value in {"format": format_, "quality": quality}.items() if value is not None}
    if watermark is not None:
        marked = {"action": "watermark", "watermark": {"text": watermark}} | encoding
        if resize is None:
            return [{"id": "marked"} | marked]
        resized = {"id": "resized", "action": "resize", "output": False} | _parse_size(resize)
        return [resized, {"id": f"{resize}-marked", "from": "resized"} | marked]
    if resize is not None:
        return [{"id": resize, "action": "resize"} | _parse_size(resize) | encoding]
    if encoding:
        return [{"id": "converted", "action": "convert"} | encoding]
    raise InvalidRequestError("Set at least one of --resize, --format, --quality, --watermark or --pipeline", ())


def steps_from_file(path: Path) -> list[Step]:
    """Return the steps in a JSON file: a list of steps, or an object whose only member ``pipeline`` is such a list.

    Raises:
        InvalidRequestError: the file can't be read, is too large or contains something else.
    """
    found = json_from_file(path)
    steps = found["pipeline"] if isinstance(found, dict) and set(found) == {"pipeline"} else found
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise InvalidRequestError(f"{path} must contain a list of steps, or an object with only `pipeline` in it", ())
    return steps


def json_from_file(path: Path) -> Any:  # noqa: ANN401 - any JSON
    """Return the content of a JSON file.

    Raises:
        InvalidRequestError: the file can't be read, is too large or is not JSON.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
        if len(text) > MAX_FILE_BYTES:
            raise InvalidRequestError(f"{path} is larger than 1 MiB", ())
        return json.loads(text)
    except OSError as error:
        raise InvalidRequestError(f"Can't read {path}: {error.strerror}", ()) from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidRequestError(f"{path} is not valid JSON from {where} on", ()) from error
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"{path} is not valid JSON in UTF-8", ()) from error


def output_ids(steps: list[Step]) -> list[str]:
    """Return the IDs of the steps whose results are outputs."""
    return [str(step.get("id")) for step in steps if step.get("output", True)]


def _parse_size(resize: str) -> Step:
    found = re.fullmatch(r"([0-9]{1,9})(?:x([0-9]{1,9}))?", resize)
    if found is None:
        raise InvalidRequestError(f"--resize {resize} must be a width such as 640 or a box such as 640x480", ())
    width, height = found.groups()
    return {"width": int(width)} | ({"height": int(height)} if height else {})
