"""Draws ``docs/states.svg``: the positions are here, the transitions come from the code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pixelflow.contracts.jobs.states import FINISHED, TRANSITIONS, JobStatus

FILE = Path(__file__).parents[2] / "docs" / "states.svg"
WIDTH, HEIGHT = 130, 42
PLACES = {
    JobStatus.CREATED: (30, 119),
    JobStatus.QUEUED: (260, 119),
    JobStatus.PROCESSING: (490, 119),
    JobStatus.SUCCEEDED: (720, 119),
    JobStatus.FAILED: (490, 24),
    JobStatus.CANCELED: (490, 214),
}
"""The left upper corner of each status."""

PATHS = {
    (JobStatus.CREATED, JobStatus.QUEUED): "M160 140H258",
    (JobStatus.CREATED, JobStatus.FAILED): "M95 119V37H488",
    (JobStatus.CREATED, JobStatus.CANCELED): "M95 161V243H488",
    (JobStatus.QUEUED, JobStatus.PROCESSING): "M390 132H488",
    (JobStatus.QUEUED, JobStatus.CANCELED): "M360 161C360 210 420 222 488 222",
    (JobStatus.PROCESSING, JobStatus.SUCCEEDED): "M620 140H718",
    (JobStatus.PROCESSING, JobStatus.FAILED): "M555 119V68",
    (JobStatus.PROCESSING, JobStatus.QUEUED): "M490 150H392",
    (JobStatus.PROCESSING, JobStatus.CANCELED): "M555 161V212",
    (JobStatus.FAILED, JobStatus.QUEUED): "M490 52C420 52 340 60 340 117",
    (JobStatus.CANCELED, JobStatus.QUEUED): "M490 232C400 232 300 220 300 163",
}
"""How each transition is drawn."""

STYLE = """
  text { font: 14px ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #0f172a }
  .page { fill: #ffffff; stroke: #e2e8f0 }
  .status { fill: #eff6ff; stroke: #60a5fa; stroke-width: 1.3 }
  .finished { fill: #f8fafc; stroke: #475569; stroke-width: 2 }
  .arrow { fill: none; stroke: #475569; stroke-width: 1.5 }
"""


def draw() -> str:
    """The picture as SVG.

    Raises:
        KeyError: the picture has no place for a status or a transition.
    """
    pairs = [(before, after) for before in TRANSITIONS for after in TRANSITIONS if after in TRANSITIONS[before]]
    return "\n".join(
        [
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 880 280" role="img" aria-labelledby="title">',
            "<!-- Drawn by tests/support/states_picture.py: run `make schemas`. -->",
            f'<title id="title">{"; ".join(f"{before} to {after}" for before, after in pairs)}</title>',
            f"<style>{STYLE}</style>",
            (
                '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
                'orient="auto"><path d="M0 0L10 5L0 10z" fill="#475569"/></marker></defs>'
            ),
            '<rect class="page" x="0.5" y="0.5" width="879" height="279" rx="12"/>',
            *(f'<path class="arrow" d="{PATHS[pair]}" marker-end="url(#head)"/>' for pair in pairs),
            *(line for status in TRANSITIONS for line in _status(status)),
            "</svg>\n",
        ]
    )


def _status(status: JobStatus) -> Iterator[str]:
    x, y = PLACES[status]
    kind = "finished" if status in FINISHED else "status"
    yield f'<rect class="{kind}" x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="21"/>'
    yield f'<text x="{x + WIDTH / 2:g}" y="{y + 26}" text-anchor="middle">{status}</text>'


if __name__ == "__main__":
    FILE.write_text(draw(), encoding="utf-8")
