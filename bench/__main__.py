"""``python -m bench``: measure, show, keep. Ends by itself, and leaves nothing running and nothing but its results."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench import kept, plot
from bench.counts import TINY, Counts
from bench.figures import BenchError, Result
from bench.machine import machine, node_version, versions
from bench.photos import write_photos
from bench.sections import SECTIONS
from bench.sections.surroundings import Surroundings

INTERRUPTED = 130
BROKEN = 1
WHOLE_SECONDS = 20 * 60
WIDTH = 132


def main() -> int:
    """Run; a target that is missed is told and is no failure: a benchmark that can't be done is one."""
    options = _options()
    console = Console(width=WIDTH, highlight=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run(options.only, TINY if options.tiny else Counts(), options.results, console, readme=options.readme)
    except KeyboardInterrupt:
        console.print("Stopped; nothing is left running.")
        return INTERRUPTED
    except BenchError as error:
        console.print(f"[bold red]The benchmark broke:[/] {escape(str(error))}")
        return BROKEN


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", type=_names, default=list(SECTIONS), help=f"some of: {','.join(SECTIONS)}")
    parser.add_argument("--tiny", action="store_true", help="see that it works; the figures mean nothing")
    parser.add_argument("--results", type=Path, default=kept.FOLDER, help="the folder that results are kept in")
    parser.add_argument("--readme", action="store_true", help="write the table into README.md, too")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    if unknown := sorted(set(names) - set(SECTIONS)):
        raise argparse.ArgumentTypeError(f"no section is called {', '.join(unknown)}")
    return names or list(SECTIONS)


def run(only: Sequence[str], counts: Counts, results: Path, console: Console, *, readme: bool) -> int:
    """Measure these sections, show and keep what was found.

    Raises:
        BenchError: it could not be done.
    """
    _say_machine(console)
    ends_at = time.monotonic() + WHOLE_SECONDS
    for name in only:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="pixelflow-bench-") as folder:
            around = Surroundings(
                counts=counts,
                folder=Path(folder),
                photos=write_photos(Path(folder), counts.sources),
                say=lambda text, name=name: console.print(f"[dim]{name}: {escape(text)} …[/]"),  # type: ignore[misc]
                deadline=lambda: time.monotonic() > ends_at,
            )
            result = SECTIONS[name](around)
        kept.keep(results, result, machine=machine(), versions=_all_versions() | result.versions)
        _show(console, result, time.monotonic() - began)
    _keep_pages(results, console, readme=readme)
    return 0


def _all_versions() -> dict[str, str]:
    node = node_version()
    return versions() | ({"node": node} if node else {})


def _say_machine(console: Console) -> None:
    for named in (machine(), _all_versions()):
        console.print(", ".join(f"{name} {value}" for name, value in named.items()))


def _show(console: Console, result: Result, seconds: float) -> None:
    table = Table(
        "figure", "median", "middle half", "samples", title=f"{result.section} ({seconds:.0f} s)", title_justify="left"
    )
    for figure in result.figures:
        measured = figure.measured
        half = f"{measured.low:.4g} – {measured.high:.4g}" if measured.samples > 1 else ""
        table.add_row(escape(figure.title), f"{measured.median:.4g} {figure.unit}", half, str(measured.samples))
    for sentence in result.about:
        console.print(escape(sentence), style="dim")
    console.print(table)


def _keep_pages(results: Path, console: Console, *, readme: bool) -> None:
    found = kept.load(results, list(SECTIONS))
    (results / kept.TABLE).write_text(kept.page(found), encoding="utf-8")
    plot.draw(found, results / "figures.svg")
    if readme:
        text = kept.README.read_text(encoding="utf-8")
        kept.README.write_text(kept.with_table(text, found), encoding="utf-8")
    _show_targets(console, found)
    console.print(f"Kept in {results}.")


def _show_targets(console: Console, found: Sequence[kept.Kept]) -> None:
    table = Table("figure", "target", "measured", "met?", title="targets", title_justify="left")
    rows = [figure for section in found for figure in section["figures"] if figure["target"]]
    for figure in rows:
        wanted = f"{figure['target']['kind']} {figure['target']['value']:g} {figure['unit']}"
        measured = f"{figure['median']:.4g} {figure['unit']}"
        table.add_row(escape(figure["title"]), wanted, measured, "yes" if figure["met"] else "[bold red]NO[/]")
    console.print(table)
    missed = [figure["title"] for figure in rows if not figure["met"]]
    if missed:
        console.print(f"[bold red]{len(missed)} of {len(rows)} targets are missed:[/] {escape('; '.join(missed))}")
    elif rows:
        console.print(f"[bold green]All {len(rows)} targets are met.[/]")


if __name__ == "__main__":
    sys.exit(main())
