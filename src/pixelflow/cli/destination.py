"""The option that names where outputs are stored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pixelflow.cli.pipelines import json_from_file
from pixelflow.client import InvalidRequestError

DestinationFile = Annotated[
    Path | None,
    typer.Option(
        "--destination",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="JSON file with the bucket and the key of each output.",
    ),
]


def read_destination(path: Path | None) -> dict[str, Any] | None:
    """Return the destination in a JSON file, if one is named.

    Raises:
        InvalidRequestError: the file can't be read, is too large or contains something else.
    """
    if path is None:
        return None
    found = json_from_file(path)
    if not isinstance(found, dict):
        raise InvalidRequestError(f'{path} must contain a destination: {{"bucket": …, "key": …}}', ())
    return found
