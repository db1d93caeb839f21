"""What every section is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.counts import Counts
from bench.figures import BenchError


@dataclass(frozen=True)
class Surroundings:
    """How often to do everything, and with what."""

    counts: Counts
    folder: Path
    """Empty, and gone at the end of the run."""
    photos: list[Path]
    say: Callable[[str], None]
    """Told what is being done."""
    deadline: Callable[[], bool]
    """Whether the time that the whole run has is over."""

    def check_time(self) -> None:
        """End a run that would take too long.

        Raises:
            BenchError: it does.
        """
        if self.deadline():
            raise BenchError("the benchmark takes longer than it may; is the machine busy with something else?")
