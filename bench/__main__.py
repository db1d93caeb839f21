"""Measure the performance of PixelFlow, print the figures and store them. Leaves no process and no temporary file."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench import plot, report
from bench.context import Context
from bench.counts import TINY, Counts
from bench.figures import BenchError, Result
from bench.machine import commit, machine, node_version, versions
from bench.peers import PEERS
from bench.photos import write_photos
from bench.sections import SECTIONS

INTERRUPTED = 130
FAILED = 1
MAX_SECONDS = 40 * 60
WIDTH = 132


def main() -> int:
    """Run the benchmark. A missed target is reported but does not change the exit code; only a failed run does."""
    options = _options()
    console = Console(width=WIDTH, highlight=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        counts = TINY if options.tiny else Counts()
        return run(options.only, counts, options.results, console, peers=options.peers, publish=options.publish)
    except KeyboardInterrupt:
        console.print("Stopped. No process is left running.")
        return INTERRUPTED
    except BenchError as error:
        console.print(f"[bold red]The benchmark failed:[/] {escape(str(error))}")
        return FAILED


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only",
        type=_names,
        default=list(SECTIONS),
        help=f"sections to run, separated by commas, of {', '.join(SECTIONS)}",
    )
    parser.add_argument("--tiny", action="store_true", help="check that the benchmark works; its figures mean nothing")
    parser.add_argument("--results", type=Path, default=report.FOLDER, help="the folder to store the results in")
    parser.add_argument("--publish", action="store_true", help="write the table into docs/performance.md")
    parser.add_argument(
        "--peers",
        type=_peers,
        default={},
        metavar="NAME=URL,…",
        help=f"running services that the section `peers` is to measure too, of {', '.join(PEERS)}",
    )
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    if unknown := sorted(set(names) - set(SECTIONS)):
        raise argparse.ArgumentTypeError(f"no such section: {', '.join(unknown)}")
    return names or list(SECTIONS)


def _peers(text: str) -> dict[str, str]:
    found = dict(peer.partition("=")[::2] for peer in text.split(",") if peer)
    for name, url in found.items():
        if name not in PEERS:
            raise argparse.ArgumentTypeError(f"no such service: {name}. Choose from {', '.join(PEERS)}")
        if not url.startswith("http://"):
            raise argparse.ArgumentTypeError(f"the URL of {name} must start with http://")
    return found


def run(
    only: Sequence[str],
    counts: Counts,
    results: Path,
    console: Console,
    *,
    peers: Mapping[str, str] = MappingProxyType({}),
    publish: bool,
) -> int:
    """Measure these sections, then print and store their results.

    Raises:
        BenchError: a section could not be measured.
    """
    _print_environment(console)
    deadline = time.monotonic() + MAX_SECONDS
    for name in only:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="pixelflow-bench-") as folder:
            context = Context(
                counts=counts,
                folder=Path(folder),
                photos=write_photos(Path(folder), counts.sources),
                echo=lambda text, name=name: console.print(f"[dim]{name}: {escape(text)} …[/]"),  # type: ignore[misc]
                is_overdue=lambda: time.monotonic() > deadline,
                peers=peers,
            )
            result = SECTIONS[name](context)
        report.store(results, result, commit=commit(), machine=machine(), versions=_all_versions() | result.versions)
        _print_figures(console, result, time.monotonic() - began)
    _write_pages(results, console, publish=publish)
    return 0


def _all_versions() -> dict[str, str]:
    node = node_version()
    return versions() | ({"node": node} if node else {})


def _print_environment(console: Console) -> None:
    for named in ({"commit": commit()}, machine(), _all_versions()):
        console.print(", ".join(f"{name} {value}" for name, value in named.items()))


def _print_figures(console: Console, result: Result, seconds: float) -> None:
    table = Table(
        "figure",
        "median",
        "interquartile range",
        "samples",
        title=f"{result.section} ({seconds:.0f} s)",
        title_justify="left",
    )
    for figure in result.figures:
        measured = figure.measured
        quartiles = f"{measured.low:.4g} – {measured.high:.4g}" if measured.samples > 1 else ""
        table.add_row(escape(figure.title), f"{measured.median:.4g} {figure.unit}", quartiles, str(measured.samples))
    for text in result.about:
        console.print(escape(text), style="dim")
    console.print(table)


def _write_pages(results: Path, console: Console, *, publish: bool) -> None:
    found = report.load(results, list(SECTIONS))
    (results / report.TABLE).write_text(report.page(found), encoding="utf-8")
    plot.draw(found, results / "figures.svg")
    if publish:
        text = report.PAGE.read_text(encoding="utf-8")
        report.PAGE.write_text(report.with_table(text, found), encoding="utf-8")
    _print_targets(console, found)
    console.print(f"Stored in {results}.")


def _print_targets(console: Console, found: Sequence[report.Stored]) -> None:
    table = Table("figure", "target", "measured", "met", title="targets", title_justify="left")
    rows = [figure for section in found for figure in section["figures"] if figure["target"]]
    for figure in rows:
        target = f"{figure['target']['kind']} {figure['target']['value']:g} {figure['unit']}"
        measured = f"{figure['median']:.4g} {figure['unit']}"
        table.add_row(escape(figure["title"]), target, measured, "yes" if figure["met"] else "[bold red]NO[/]")
    console.print(table)
    missed = [figure["title"] for figure in rows if not figure["met"]]
    if missed:
        console.print(f"[bold red]{len(missed)} of {len(rows)} targets were missed:[/] {escape('; '.join(missed))}")
    elif rows:
        console.print(f"[bold green]All {len(rows)} targets were met.[/]")


if __name__ == "__main__":
    sys.exit(main())
