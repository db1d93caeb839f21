"""What a person is told of a setting that is missing or wrong. Never repeats a value: it may be a secret."""

from __future__ import annotations

from collections.abc import Callable

from pydantic_core import ErrorDetails

PREFIX = "PIXELFLOW_"


def wrong(row: ErrorDetails, meaning: Callable[[str], str]) -> str:
    """One sentence for one row of a validation error.

    Args:
        row: what is wrong.
        meaning: what the setting of that name is.
    """
    if not row["loc"]:
        return f"{row['msg']}."
    name = str(row["loc"][0])
    if row["type"] == "missing":
        return missing(name, meaning)
    return f"{variable(name)} is wrong: {row['msg'][0].lower()}{row['msg'][1:]}. It is: {meaning(name)}."


def missing(name: str, meaning: Callable[[str], str]) -> str:
    """The sentence for a setting that has to be set."""
    return f"{variable(name)} is not set. It is: {meaning(name)}."


def variable(name: str) -> str:
    """The setting's name in the environment."""
    return f"{PREFIX}{name.upper()}"
