"""The final report of a run: counts, and which invariants held, by part of the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

MAX_SENTENCES = 12


@dataclass
class Part:
    """The results of one part of a run."""

    title: str
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


@dataclass
class Report:
    """The results of a run."""

    parts: list[Part] = field(default_factory=list)

    def begin(self, title: str) -> Part:
        """Add a part."""
        self.parts.append(Part(title))
        return self.parts[-1]

    @property
    def is_clean(self) -> bool:
        """Whether every invariant holds."""
        return all(part.is_clean for part in self.parts)

    def print(self, console: Console) -> None:
        """Print the report."""
        table = Table("", "", "invariant", title="Results")
        for part in self.parts:
            table.add_section()
            table.add_row(f"[bold]{part.title}[/]", "", "")
            for what, value in part.figures.items():
                table.add_row(what, value, "")
            for what, broken in part.invariants.items():
                table.add_row(what, str(len(broken)), "[red]broken[/]" if broken else "[green]held[/]")
        console.print(table)
        for part in self.parts:
            for what, broken in part.invariants.items():
                for sentence in broken[:MAX_SENTENCES]:
                    console.print(f"{part.title}: {what}: {sentence}", markup=False, highlight=False)


def format_counts(counts: Mapping[str, int] | Counter[str]) -> str:
    """Such as «kill worker 12, kill API 4»."""
    return ", ".join(f"{what} {count}" for what, count in sorted(counts.items(), key=lambda item: -item[1])) or "none"
