"""The estimate of a plan's memory, against the peaks of random jobs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

JOBS = 24


def test_random_jobs_stay_within_their_estimates(tmp_path: Path) -> None:
    """In a process of its own, because it forks and therefore must not have threads."""
    command = [sys.executable, "-m", "tests.unit.imaging.peaks", str(JOBS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    jobs = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(jobs) == JOBS
    assert [job for job in jobs if job["grown"] > job["estimated"]] == []
    shares = sorted(job["grown"] / job["estimated"] for job in jobs)
    assert shares[JOBS // 2] > 0.2, "an estimate far above the peak would keep slots empty"
