"""Downloads of outputs to files with names of the command line."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pixelflow.client import TransferError
from pixelflow.contracts.jobs.responses import Output


def has_content(path: Path, output: Output) -> bool:
    """Whether the file at ``path`` is the output."""
    try:
        if path.stat().st_size != output.bytes:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == output.sha256
    except OSError:
        return False


def create_parent(path: Path) -> None:
    """Create the directory of ``path``.

    Raises:
        TransferError: it can't be created.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TransferError(f"{path.parent} can't be created: {error.strerror}") from error
