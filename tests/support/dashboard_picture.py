"""Draws the dashboard's panels with data from Prometheus, in Grafana's layout.

It shows without Grafana whether the panels are useful. The style differs from Grafana's; numbers, units, names,
thresholds and layout are the dashboard's.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import dates, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from tests.support import dashboard
from tests.support.dashboard import Json, Shown
from tests.support.prometheus import Prometheus

COLUMNS, DPI = 24, 80
COLUMN_INCHES, LINE_INCHES = 0.72, 0.36
INK, PAPER, CARD = "#23272e", "#f4f5f7", "#ffffff"
COLORS = {"green": "#3f9c4f", "orange": "#e0862d", "red": "#cc3b3b", "blue": "#3f7fbf", "purple": "#8e5bb5"}
CYCLE = ["#3f7fbf", "#2aa3a3", "#b58a2a", "#8e5bb5", "#d46a9f", "#7a9e3f", "#7a7f87", "#5b6abf", "#c0694e", "#4fae8a"]
Series = list[tuple[str, list[list[float]]]]


@dataclass(frozen=True)
class Window:
    """The time range of the picture."""

    since: float
    until: float
    step: float
    rate: str
    """The interval of rates."""

    @property
    def whole(self) -> str:
        """Its length in PromQL."""
        return f"{round(self.until - self.since)}s"


def draw(prometheus: Prometheus, window: Window, file: Path) -> None:
    """Query the data of every panel and write one picture, with few colors to keep the file small."""
    panels = dashboard.panels()
    headings = [
        each["gridPos"] | {"title": each["title"]} for each in dashboard.read()["panels"] if each["type"] == "row"
    ]
    lines = max(each.json["gridPos"]["y"] + each.json["gridPos"]["h"] for each in panels)
    with mpl.rc_context({"font.size": 8, "text.color": INK, "axes.edgecolor": "#c9ccd1", "axes.labelcolor": INK}):
        figure = Figure(figsize=(COLUMNS * COLUMN_INCHES, lines * LINE_INCHES), dpi=DPI, facecolor=PAPER)
        for heading in headings:
            figure.text(0.008, 1 - (heading["y"] + 0.65) / lines, heading["title"], size=12, weight="bold", va="center")
        for panel in panels:
            _draw(panel, prometheus, window, _axes(figure, panel, lines))
        written = io.BytesIO()
        figure.savefig(written, format="png", facecolor=PAPER)
    Image.open(written).convert("RGB").quantize(48, dither=Image.Dither.NONE).save(file, optimize=True)


def _axes(figure: Figure, panel: Shown, lines: int) -> Axes:
    place = panel.json["gridPos"]
    left, width = place["x"] / COLUMNS, place["w"] / COLUMNS
    bottom, height = 1 - (place["y"] + place["h"]) / lines, place["h"] / lines
    card = figure.add_axes((left + 0.003, bottom + 0.0015, width - 0.006, height - 0.003), facecolor=CARD)
    card.set(xticks=[], yticks=[])
    margin, head = {"timeseries": 0.042, "bargauge": 0.06}.get(panel.json["type"], 0.012), 1.3 / lines
    foot = (2.2 if panel.json["type"] == "timeseries" else 0.4) / lines
    figure.text(left + 0.009, bottom + height - 0.75 / lines, panel.title, size=9, weight="bold", va="center")
    axes = figure.add_axes((left + margin, bottom + foot, width - margin - 0.012, height - foot - head), facecolor=CARD)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _draw(panel: Shown, prometheus: Prometheus, window: Window, axes: Axes) -> None:
    if panel.json["type"] == "timeseries":
        _draw_lines(panel, _over(panel, prometheus, window), window, axes)
    elif panel.json["type"] == "bargauge":
        _draw_bars(panel, _now(panel, prometheus, window), axes)
    else:
        _draw_numbers(panel, _now(panel, prometheus, window), axes)


def _over(panel: Shown, prometheus: Prometheus, window: Window) -> Series:
    found: Series = []
    for query in panel.queries:
        expression = query.filled(rate=window.rate, whole=window.whole)
        answers = prometheus.over(expression, since=window.since, until=window.until, step=window.step)
        found += [(query.named(dict(each)), points) for each, points in answers.items()]
    return sorted(found)


def _now(panel: Shown, prometheus: Prometheus, window: Window) -> list[tuple[str, float]]:
    found = []
    for query in panel.queries:
        answers = prometheus.now(query.filled(rate=window.rate, whole=window.whole))
        found += [(query.named(dict(each)), value) for each, value in answers.items()]
    return found


def _draw_lines(panel: Shown, series: Series, window: Window, axes: Axes) -> None:
    look = panel.json["fieldConfig"]["defaults"]
    colors = _colors(panel, [name for name, _ in series])
    if look["custom"].get("stacking"):
        count = round((window.until - window.since) / window.step)
        times = [window.since + place * window.step for place in range(count)]
        tops = [_at(points, times, window.step) for _, points in series]
        axes.stackplot(_moments(times), *tops, labels=[name for name, _ in series], colors=colors, alpha=0.75, lw=0)
    else:
        for (name, points), color in zip(series, colors, strict=True):
            times, values = [at for at, _ in points], [value for _, value in points]
            axes.plot(_moments(times), values, label=name, color=color, lw=1.2)
    axes.set_ylim(bottom=0)
    _draw_thresholds(look["thresholds"]["steps"], axes)
    axes.set_xlim(*_moments([window.since, window.until]))
    axes.yaxis.set_major_locator(ticker.MaxNLocator(5))
    axes.yaxis.set_major_formatter(lambda value, _: written(value, look["unit"]))
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M:%S"))  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(ticker.MaxNLocator(5))
    axes.set_axisbelow(True)
    axes.grid(axis="y", color="#e4e6ea")
    axes.tick_params(labelsize=7)
    if series:
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.45, -0.13), ncols=6, fontsize=6.5, frameon=False, handlelength=1
        )


def _colors(panel: Shown, names: Sequence[str]) -> list[str]:
    """Return the fixed color of each series, or the next one of the cycle."""
    fixed = {
        each["matcher"]["options"]: COLORS[each["properties"][0]["value"]["fixedColor"]]
        for each in panel.json["fieldConfig"]["overrides"]
    }
    others = itertools.cycle(CYCLE)
    return [fixed.get(name) or next(others) for name in names]


def _draw_thresholds(steps: Sequence[Json], axes: Axes) -> None:
    """Draw the thresholds that are near the values."""
    highest = axes.get_ylim()[1]
    for step in steps[1:]:
        if step["value"] <= highest * 1.2:
            axes.axhline(step["value"], color=COLORS[step["color"]], lw=0.8, ls="--")


def _at(points: Sequence[Sequence[float]], times: Sequence[float], step: float) -> list[float]:
    """Return the value at each time, or 0 without a value."""
    known = {round(at / step): value for at, value in points if math.isfinite(value)}
    return [known.get(round(time / step), 0.0) for time in times]


def _moments(times: Sequence[float]) -> Any:  # noqa: ANN401  # matplotlib's numbers of days
    return dates.date2num([datetime.fromtimestamp(each, UTC) for each in times])  # type: ignore[no-untyped-call]


def _draw_bars(panel: Shown, values: list[tuple[str, float]], axes: Axes) -> None:
    ranked = list(reversed(values))
    bars = axes.barh([name for name, _ in ranked], [value for _, value in ranked], color=CYCLE[0])
    unit = panel.json["fieldConfig"]["defaults"]["unit"]
    axes.bar_label(bars, [written(value, unit) for _, value in ranked], padding=3, fontsize=7)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set(xticks=[])
    axes.margins(x=0.15)
    axes.tick_params(length=0, labelsize=7)


def _draw_numbers(panel: Shown, values: list[tuple[str, float]], axes: Axes) -> None:
    look = panel.json["fieldConfig"]["defaults"]
    words = {float(value): option["text"] for each in look["mappings"] for value, option in each["options"].items()}
    axes.set_axis_off()
    axes.set(xlim=(0, max(1, len(values))), ylim=(0, 1))
    for place, (name, value) in enumerate(values):
        steps = look["thresholds"]["steps"]
        color = next(step["color"] for step in reversed(steps) if step["value"] is None or value >= step["value"])
        ink = "white" if len(steps) > 1 else INK
        if len(steps) > 1:
            axes.add_patch(mpl.patches.Rectangle((place + 0.03, 0.02), 0.94, 0.96, color=COLORS[color], lw=0))
        shown = words.get(value) or written(value, look["unit"], look.get("decimals"))
        axes.text(place + 0.5, 0.62, shown, ha="center", va="center", size=14, weight="bold", color=ink)
        axes.text(place + 0.5, 0.25, name, ha="center", va="center", size=7.5, color=ink)


def written(value: float, unit: str, decimals: int | None = None) -> str:
    """Format a value roughly as Grafana does for this unit."""
    if unit.startswith("suffix:"):
        return f"{value:.3g}{unit.removeprefix('suffix:')}"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if 0 < value < 1 else f"{value:.3g} s"
    steps = {"bytes": (1024, ["B", "KiB", "MiB", "GiB"]), "short": (1000, ["", " K", " Mil", " Bil"])}
    base, names = steps[unit]
    if decimals is not None:
        return f"{value:.{decimals}f}"
    for name in names:
        if abs(value) < base or name == names[-1]:
            return f"{value:.3g}{' ' if unit == 'bytes' else ''}{name}"
        value /= base
    raise AssertionError(unit)
