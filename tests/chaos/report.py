"""The final report of a run: counts, and which invariants held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

MAX_SENTENCES = 12


@dataclass
class Report:
    """The results of a run."""

    figures: dict[str, str] = field(default_factory=dict)
    invariants: dict[str, list[str]] = field(default_factory=dict)
    """Name of the invariant → its violations."""

    def count(self, what: str, value: object) -> None:
        """Record a figure without an expected value."""
        self.figures[what] = str(value)

    def check(self, what: str, broken: Iterable[str]) -> None:
        """Record an invariant and its violations."""
        self.invariants[what] = list(broken)

    @property
    def is_clean(self) -> bool:
        """Whether every invariant holds."""
        return not any(self.invariants.values())

    def print(self, console: Console) -> None:
        """Print the report."""
        table = Table("", "", "invariant", title="Results")
        for what, value in self.figures.items():
            table.add_row(what, value, "")
        table.add_section()
        for what, broken in self.invariants.items():
            table.add_row(what, str(len(broken)), "[red]broken[/]" if broken else "[green]held[/]")
        console.print(table)
        for what, broken in self.invariants.items():
            for sentence in broken[:MAX_SENTENCES]:
                console.print(f"{what}: {sentence}", markup=False, highlight=False)


def format_counts(counts: Mapping[str, int] | Counter[str]) -> str:
    """Such as «kill worker 12, kill API 4»."""
    return ", ".join(f"{what} {count}" for what, count in sorted(counts.items(), key=lambda item: -item[1])) or "none"
