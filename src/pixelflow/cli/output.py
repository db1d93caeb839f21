"""Formatting and printing: results on stdout, everything else on stderr.

Text from outside (file names, answers of servers) must never reach the terminal with control characters in it.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

_KILO = 1000
_WHOLE_PERCENTS = 99
_LARGEST_REDUCTION = 99.9
_UNLIMITED_COLUMNS = 10_000
"""Width of output that goes to a file or another program, so that no line is wrapped."""


def printable(text: object) -> str:
    """Return ``text`` with every control or unprintable character replaced by U+FFFD."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(text))


def cell(text: object, style: str = "") -> Text:
    """Return ``text`` for a table; square brackets in it are not markup."""
    return Text(printable(text), style=style, overflow="fold")


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """Return an empty table; the columns named in ``right`` are aligned right and never wrapped."""
    rows = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        rows.add_column(name, justify="right" if name in right else "left", overflow="fold", no_wrap=name in right)
    return rows


def print_table(rows: Table) -> None:
    """Print a table to stdout, wrapped only on a terminal."""
    Console(highlight=False, width=None if sys.stdout.isatty() else _UNLIMITED_COLUMNS).print(rows)


def print_json(content: object) -> None:
    """Print one JSON document to stdout."""
    json.dump(content, sys.stdout, indent=2, ensure_ascii=True)
    sys.stdout.write("\n")


def echo(text: object) -> None:
    """Print a line to stderr."""
    _stderr().print(Text(printable(text)), soft_wrap=True)


def echo_error(text: object) -> None:
    """Print a line to stderr, prefixed with ``Error:``."""
    _stderr().print(Text.assemble(("Error: ", "bold red"), printable(text)), soft_wrap=True)


def _stderr() -> Console:
    return Console(stderr=True, highlight=False)


def format_size(count: int) -> str:
    """Return a number of bytes with three significant digits and a decimal unit: 1500 → ``1.5 kB``."""
    amount, units = float(count), ["B", "kB", "MB", "GB"]
    while amount >= _KILO and len(units) > 1:
        amount /= _KILO
        units.pop(0)
    if units[0] == "B":
        return f"{count} B"
    return f"{amount:.3g} {units[0]}" if amount < _KILO else f"{amount:.0f} {units[0]}"


def format_pixels(width: int | None, height: int | None) -> str:
    """Return a size such as ``640×480``; empty if it is unknown."""
    return f"{width}×{height}" if width and height else ""


def format_time(time: datetime) -> str:
    """Return ``time`` in the local time zone, to the second and with its UTC offset."""
    return time.astimezone().isoformat(sep=" ", timespec="seconds")


def format_change(before: int | None, after: int) -> str:
    """Return the signed change from ``before`` to ``after`` in percent; empty if ``before`` is unknown or zero.

    A reduction by more than 99 % has a decimal, and is below 100 % unless nothing remains.
    """
    if not before:
        return ""
    exact = 100 * (after - before) / before
    if after and exact < -_WHOLE_PERCENTS:
        return f"\N{MINUS SIGN}{min(-exact, _LARGEST_REDUCTION):.1f} %"
    percent = round(exact)
    return f"{percent:+d} %".replace("-", "\N{MINUS SIGN}") if percent else "0 %"
