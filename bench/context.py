"""The context that is passed to every section."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.counts import Counts
from bench.figures import BenchError


@dataclass(frozen=True)
class Context:
    """Repetitions, sources and callbacks of one section."""

    counts: Counts
    folder: Path
    """An empty folder, deleted at the end of the section."""
    photos: list[Path]
    echo: Callable[[str], None]
    """Prints progress."""
    is_overdue: Callable[[], bool]
    """Whether the time limit of the whole run is exceeded."""
    peers: Mapping[str, str] = field(default_factory=dict)
    """URLs of running services to compare with, by name."""

    def check_time(self) -> None:
        """Stop a run that takes too long.

        Raises:
            BenchError: the time limit is exceeded.
        """
        if self.is_overdue():
            raise BenchError("the time limit was exceeded; is the machine busy with something else?")
