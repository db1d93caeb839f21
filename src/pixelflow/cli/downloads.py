"""Downloads of outputs to files with names of the command line."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pixelflow.client import TransferError
from pixelflow.client.partial_files import remove_abandoned
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


class OutputFolders:
    """The directories that a command downloads to."""

    def __init__(self) -> None:
        self._prepared: set[Path] = set()

    def prepare(self, folder: Path) -> None:
        """Create the directory; the first time, remove what killed commands have left there.

        Raises:
            TransferError: it can't be created.
        """
        if folder in self._prepared:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TransferError(f"{folder} can't be created: {error.strerror}") from error
        remove_abandoned(folder)
        self._prepared.add(folder)
