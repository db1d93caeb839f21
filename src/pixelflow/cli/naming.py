"""Names of downloaded outputs: ``{photo}-{step}.{ext}``, no two photos of one command ever sharing one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path


def prefixes(photos: Sequence[Path], step_ids: Sequence[str], folder: Path) -> list[str]:
    """What the outputs of each photo begin with: its stem, numbered where another photo's outputs have the name.

    The photos themselves are kept clear of too. Letters that differ only in case are the same, as some file systems
    have it.
    """
    taken = {_folded(photo.stem) for photo in photos if photo.resolve().parent == folder.resolve()}
    return [_prefix(photo.stem, step_ids, taken) for photo in photos]


def _prefix(stem: str, step_ids: Sequence[str], taken: set[str]) -> str:
    for number in count(1):
        prefix = stem if number == 1 else f"{stem}-{number}"
        names = {_folded(f"{prefix}-{step_id}") for step_id in step_ids}
        if not names & taken:
            taken |= names
            return prefix
    raise AssertionError  # count() has no end


def _folded(name: str) -> str:
    return name.casefold()
