"""What values of settings must be that are more than text or numbers: folders and keys."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path

from pydantic_core import PydanticCustomError

KEY_BYTES = 32
"""What AES-256 takes."""


def existing_folders(roots: Iterable[Path]) -> tuple[Path, ...]:
    """The folders, symlinks resolved.

    Raises:
        PydanticCustomError: one of them does not exist, or is named by a relative path.
    """
    roots = tuple(roots)
    for root in roots:
        if not root.is_absolute() or not root.is_dir():
            raise PydanticCustomError(
                "not_a_folder",
                "must name folders that exist, by absolute paths; {root} is not one",
                {"root": str(root)},
            )
    return tuple(root.resolve() for root in roots)


def check_key(text: str) -> None:
    """Refuse what is no key.

    Raises:
        PydanticCustomError: why.
    """
    if len(unbase64(text)) != KEY_BYTES:
        raise PydanticCustomError("key", "must be 32 bytes in URL-safe base64")


def unbase64(text: str) -> bytes:
    """The bytes that are meant, with or without padding; none if it is not base64."""
    try:
        return base64.b64decode(text.rstrip("=") + "=", altchars=b"-_", validate=True)
    except ValueError:
        return b""
