"""The table that a run ends with: what was counted, and which laws held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

MAX_SENTENCES = 12


@dataclass
class Report:
    """What a run found."""

    figures: dict[str, str] = field(default_factory=dict)
    laws: dict[str, list[str]] = field(default_factory=dict)
    """By what is counted: the sentences of those that break it; none must."""

    def count(self, what: str, value: object) -> None:
        """Keep a figure that may be what it is."""
        self.figures[what] = str(value)

    def hold(self, what: str, broken: Iterable[str]) -> None:
        """Keep a law, with what breaks it."""
        self.laws[what] = list(broken)

    @property
    def is_clean(self) -> bool:
        """Whether every law holds."""
        return not any(self.laws.values())

    def print(self, console: Console) -> None:
        """Show it."""
        table = Table("", "", "law", title="What the run left")
        for what, value in self.figures.items():
            table.add_row(what, value, "")
        table.add_section()
        for what, broken in self.laws.items():
            table.add_row(what, str(len(broken)), "[red]broken[/]" if broken else "[green]held[/]")
        console.print(table)
        for what, broken in self.laws.items():
            for sentence in broken[:MAX_SENTENCES]:
                console.print(f"{what}: {sentence}", markup=False, highlight=False)


def in_words(counts: Mapping[str, int] | Counter[str]) -> str:
    """Such as «kill worker 12, kill API 4»."""
    return ", ".join(f"{what} {count}" for what, count in sorted(counts.items(), key=lambda item: -item[1])) or "none"
