"""The estimate of a plan's memory, against the peaks of random jobs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from pixelflow.imaging.formats.registry import FORMATS
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.header import Header
from pixelflow.imaging.memory import estimate
from pixelflow.imaging.pipeline import Pipeline
from pixelflow.imaging.plan import plan

JOBS = 24
LARGE = Size(8000, 6000)


def test_random_jobs_stay_within_their_estimates(tmp_path: Path) -> None:
    """In a process of its own, because it forks and therefore must not have threads."""
    command = [sys.executable, "-m", "tests.unit.imaging.peaks", str(JOBS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    jobs = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(jobs) == JOBS
    assert [job for job in jobs if job["grown"] > job["estimated"]] == []
    shares = sorted(job["grown"] / job["estimated"] for job in jobs)
    assert shares[JOBS // 2] > 0.2, "an estimate far above the peak would keep slots empty"


@pytest.mark.parametrize(
    ("format_", "step", "kept"),
    [
        ("png", {"action": "convert", "format": "webp"}, 0),
        ("png", {"action": "resize", "width": 8000, "format": "webp"}, 0),
        ("jpeg", {"action": "resize", "width": 4000}, 0),  # CMYK
        ("png", {"action": "resize", "width": 4000}, 4000 * 3000 * 4),
    ],
)
def test_a_picture_of_four_channels_is_kept_only_if_it_is_scaled_and_can_have_alpha(
    format_: str, step: dict[str, Any], kept: int
) -> None:
    pipeline = TypeAdapter(Pipeline).validate_python([{"id": "out", **step}])
    planned = plan(pipeline, LARGE, format_)
    assert estimate(planned, FORMATS[format_], Header(LARGE, bytes_per_pixel=4)).kept == kept
