"""Results as files: JSON by section under names that stay, one Markdown table, and the README's part of it.

A run is a change of these files, to be read as one. Nothing here measures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.figures import Result

FOLDER = Path(__file__).parent / "results"
README = Path(__file__).parents[1] / "README.md"
TABLE = "README.md"
_PLACE = re.compile(r"(<!-- benchmark: made by python -m bench -->\n).*?(\n<!-- end -->)", re.DOTALL)
_NOTHING = "No run has been kept yet."

Kept = dict[str, Any]


def keep(folder: Path, result: Result, *, machine: dict[str, str], versions: dict[str, str]) -> Kept:
    """Write one section's results."""
    kept = {
        "section": result.section,
        "machine": machine,
        "versions": versions,
        "about": result.about,
        "figures": [figure.as_json() for figure in result.figures],
    }
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(kept, indent=1, ensure_ascii=False) + "\n"
    (folder / f"{result.section}.json").write_text(text, encoding="utf-8")
    return kept


def load(folder: Path, sections: Sequence[str]) -> list[Kept]:
    """What is kept of these sections, in their order."""
    paths = [folder / f"{section}.json" for section in sections]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]


def page(kept: Sequence[Kept]) -> str:
    """Everything, as Markdown."""
    lines = ["# What was measured", "", "Made by `make bench`. Medians, and the middle half of the samples.", ""]
    lines += [*summary(kept).splitlines(), ""]
    lines += ["![CPU per picture, and each figure against its target](figures.svg)", ""]
    for section in kept:
        lines += [f"## {section['section']}", "", *section["about"], "", *_figures_table(section["figures"]), ""]
        lines += [_told(section["machine"]) + ".", "", _told(section["versions"]) + ".", ""]
    return "\n".join(lines)


def summary(kept: Sequence[Kept]) -> str:
    """The figures that have a target, and the machine they are from."""
    rows = [figure for section in kept for figure in section["figures"] if figure["target"]]
    if not rows:
        return _NOTHING
    lines = ["| figure | target | measured | met |", "|---|---|---|---|", *map(_summary_row, rows), ""]
    machines = sorted({_told(section["machine"]) for section in kept})
    return "\n".join([*lines, *(f"{machine}." for machine in machines)])


def _summary_row(figure: Kept) -> str:
    target = f"{figure['target']['kind']} {_with_unit(figure['target']['value'], figure['unit'])}"
    return f"| {figure['title']} | {target} | {_measured(figure)} | {'yes' if figure['met'] else '**no**'} |"


def _figures_table(figures: Sequence[Kept]) -> Iterator[str]:
    yield from ("| figure | median | middle half | samples |", "|---|---|---|---|")
    for figure in figures:
        half = f"{_number(figure['low'])} – {_number(figure['high'])}" if figure["samples"] > 1 else ""
        yield f"| {figure['title']} | {_with_unit(figure['median'], figure['unit'])} | {half} | {figure['samples']} |"


def _measured(figure: Kept) -> str:
    measured = _with_unit(figure["median"], figure["unit"])
    if figure["samples"] == 1:
        return measured
    return f"{measured} ({_number(figure['low'])} – {_number(figure['high'])})"


def _with_unit(value: float, unit: str) -> str:
    return f"{_number(value)} {unit}".strip()


def _number(value: float) -> str:
    """Three digits that count, without an exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def _told(named: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in named.items())


def with_table(readme: str, kept: Sequence[Kept]) -> str:
    """The README with the summary in its place.

    Raises:
        LookupError: it has no place for one.
    """
    text, count = _PLACE.subn(lambda found: found[1] + summary(kept) + found[2], readme)
    if count != 1:
        raise LookupError("README.md has no place for the benchmark's table")
    return text
