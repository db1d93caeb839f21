"""Plots CPU per picture by contender, and figures against their targets. The output is deterministic."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib.axes import Axes  # the backend must be chosen first
from matplotlib.figure import Figure

from bench.cases import TITLES
from bench.report import Stored

_CONTENDERS = {"pixelflow": "#1f6feb", "pillow": "#9aa4b2", "sharp": "#6b7684"}
_MET, _MISSED = "#2a9d5c", "#d1493f"
_MOST = 2.5
"""Multiple of the target at which a bar is cut off; its label shows the real value."""
_NAME_LENGTH = 46


def draw(results: Sequence[Stored], path: Path) -> None:
    """Write the plot as SVG."""
    mpl.rcParams.update({"svg.hashsalt": "pixelflow", "font.size": 8})
    figures = {section["section"]: section["figures"] for section in results}
    drawing = Figure(figsize=(11, 5.5), layout="constrained")
    left, right = drawing.subplots(1, 2, width_ratios=[2, 3])
    _draw_contenders(left, figures.get("plan", []))
    _draw_targets(right, [figure for each in figures.values() for figure in each if figure["target"]])
    drawing.savefig(path, metadata={"Date": None})


def _draw_contenders(axes: Axes, figures: list[dict[str, Any]]) -> None:
    found = {figure["name"]: figure for figure in figures}
    labels: list[str] = []
    for case in ("gradient_jpeg", "gradient_watermark", "photo_jpeg"):
        for contender, color in _CONTENDERS.items():
            cpu, delta = found.get(f"{case}.{contender}.cpu"), found.get(f"{case}.{contender}.delta_e")
            if cpu is None or delta is None:
                continue
            axes.barh(len(labels), cpu["median"], color=color)
            axes.text(cpu["median"], len(labels), f" {cpu['median']:.3g} ms, ΔE {delta['median']:.2g}", va="center")
            labels.append(
                f"{contender}\n{TITLES[case].replace(' → ', chr(10) + '→ ')}" if contender == "pixelflow" else contender
            )
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.margins(x=0.45)
    axes.set_xlabel("CPU per picture in ms: lower is better")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_targets(axes: Axes, figures: list[dict[str, Any]]) -> None:
    for place, figure in enumerate(figures):
        share = figure["median"] / figure["target"]["value"]
        axes.barh(place, min(share, _MOST), color=_MET if figure["met"] else _MISSED)
        axes.text(min(share, _MOST), place, f" {figure['median']:.3g} {figure['unit']}", va="center")
    wanted = [f"{figure['title'][:_NAME_LENGTH]} ({figure['target']['kind']})" for figure in figures]
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(range(len(figures)), wanted)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.set_xlabel("measured ÷ target")
    axes.spines[["top", "right"]].set_visible(False)
