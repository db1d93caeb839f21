"""What people see: results on stdout, everything else on stderr. Never lets a foreign string command the terminal."""

from __future__ import annotations

import json
import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

_KILO = 1000
_ENOUGH = 10_000
"""Columns; a line that a program or a file takes is never folded."""


def plain(text: object) -> str:
    """``text`` without what a terminal would obey or can't show: names of files and answers of servers may hold it."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(text))


def cell(text: object, style: str = "") -> Text:
    """``text`` for a table, its brackets not taken for markup."""
    return Text(plain(text), style=style, overflow="fold")


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table; the columns in ``right`` hold numbers."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        made.add_column(name, justify="right" if name in right else "left", overflow="fold", no_wrap=name in right)
    return made


def show(renderable: Table) -> None:
    """On stdout: as wide as the terminal, or as needed where there is none."""
    Console(highlight=False, width=None if sys.stdout.isatty() else _ENOUGH).print(renderable)


def show_json(content: object) -> None:
    """One JSON document on stdout, for programs."""
    json.dump(content, sys.stdout, indent=2, ensure_ascii=True)
    sys.stdout.write("\n")


def say(text: object) -> None:
    """A line for people, on stderr."""
    _stderr().print(Text(plain(text)), soft_wrap=True)


def complain(text: object) -> None:
    """What went wrong, on stderr."""
    _stderr().print(Text.assemble(("Error: ", "bold red"), plain(text)), soft_wrap=True)


def _stderr() -> Console:
    return Console(stderr=True, highlight=False)


def size(count: int) -> str:
    """Bytes as people read them, in powers of a thousand."""
    amount, units = float(count), ["B", "kB", "MB", "GB"]
    while amount >= _KILO and len(units) > 1:
        amount /= _KILO
        units.pop(0)
    return (
        f"{count} B"
        if units[0] == "B"
        else f"{amount:.3g} {units[0]}"
        if amount < _KILO
        else f"{amount:.0f} {units[0]}"
    )


def change(before: int | None, after: int) -> str:
    """By how much ``after`` is more or less than ``before``, with its sign."""
    if not before:
        return ""
    share = round(100 * (after - before) / before)
    return f"{share:+d} %".replace("-", "\N{MINUS SIGN}") if share else "0 %"
