"""``pixelflow jobs download``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from tests.unit.client.stand_in import Fault, StandIn
from typer.testing import Result

from pixelflow.client import Client
from pixelflow.client.partial_files import replacing
from pixelflow.contracts.jobs.states import JobStatus

Run = Callable[..., Result]
STEPS = [
    {"id": "small", "action": "resize", "width": 64, "format": "webp"},
    {"id": "tiny", "action": "resize", "width": 16, "format": "png"},
]


@pytest.fixture
def jobs(api: StandIn, photo: Path) -> list[str]:
    """Jobs that have succeeded, with the metadata n=0 to n=3."""
    api.life = (JobStatus.SUCCEEDED,)
    with Client() as client:
        return [str(client.submit(photo, STEPS, metadata={"n": str(n), "shop": "a"}).job_id) for n in range(4)]


def test_jobs_are_downloaded_by_id(pixelflow: Run, api: StandIn, jobs: list[str], tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    result = pixelflow("jobs", "download", jobs[0], jobs[0], "--out", out)
    assert result.exit_code == 0, result.output
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        f"{jobs[0]}-small.webp": api.output_bytes("small"),
        f"{jobs[0]}-tiny.png": api.output_bytes("tiny"),
    }


def test_jobs_are_downloaded_by_condition_and_step(pixelflow: Run, jobs: list[str], tmp_path: Path) -> None:
    assert pixelflow("jobs", "download", "--metadata", "n=2", "--step", "tiny", "--out", tmp_path / "o").exit_code == 0
    assert [path.name for path in (tmp_path / "o").iterdir()] == [f"{jobs[2]}-tiny.png"]


def test_an_interrupted_command_continues_and_replaces_incomplete_files(
    pixelflow: Run, api: StandIn, jobs: list[str], tmp_path: Path
) -> None:
    command = ("jobs", "download", "--metadata", "shop=a", "--out", tmp_path / "o", "--json")
    api.fail("download", *[Fault(403)] * 3)
    broken = pixelflow(*command)
    results = [file["result"] for file in json.loads(broken.stdout)["files"]]
    assert (broken.exit_code, results.count("failed"), results.count("downloaded")) == (1, 3, 5)
    next((tmp_path / "o").iterdir()).write_bytes(b"half")
    resumed = pixelflow(*command)
    results = [file["result"] for file in json.loads(resumed.stdout)["files"]]
    assert (resumed.exit_code, results.count("existing"), results.count("downloaded")) == (0, 4, 4)
    assert "4 files were there already" in resumed.stderr
    assert {path.read_bytes() for path in (tmp_path / "o").iterdir()} == {
        api.output_bytes("small"), api.output_bytes("tiny")
    }  # fmt: skip
    assert len(jobs) * 2 == len(list((tmp_path / "o").iterdir()))


def test_files_that_a_killed_command_left_are_removed_and_no_others(
    pixelflow: Run, jobs: list[str], tmp_path: Path
) -> None:
    others = [tmp_path / name for name in (".pixelflow-mine.part", f".pixelflow-{'0' * 32}.part.jpg", "a.part")]
    for path in others:
        path.write_bytes(b"of somebody else")
    code = (
        "import os, signal; from pathlib import Path; from pixelflow.client.partial_files import replacing\n"
        f"with replacing(Path({str(tmp_path)!r}, 'x')): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], check=False, timeout=300)
    with replacing(tmp_path / "in progress") as file:
        assert len(list(tmp_path.glob(".pixelflow-????????????????????????????????.part"))) == 2
        assert pixelflow("jobs", "download", jobs[0], "--out", tmp_path).exit_code == 0
        assert [str(path) for path in tmp_path.glob(".pixelflow-????????????????????????????????.part")] == [file.name]
    assert all(path.exists() for path in [*others, tmp_path / "in progress"])


def test_an_unknown_job_does_not_stop_the_others(pixelflow: Run, jobs: list[str], tmp_path: Path) -> None:
    missing = str(uuid4())
    result = pixelflow("jobs", "download", missing, jobs[1], "--out", tmp_path / "o")
    assert (result.exit_code, missing in result.stderr) == (4, True)
    assert len(list((tmp_path / "o").iterdir())) == 2


@pytest.mark.parametrize("both", [True, False])
def test_jobs_are_named_or_chosen_by_conditions(pixelflow: Run, api: StandIn, jobs: list[str], both: bool) -> None:
    api.seen.clear()
    result = pixelflow("jobs", "download", *([jobs[0], "--metadata", "n=1"] if both else []))
    assert (result.exit_code, api.seen) == (2, [])


def test_a_response_cannot_choose_where_a_file_is_written(
    pixelflow: Run, api: StandIn, jobs: list[str], tmp_path: Path
) -> None:
    api.rename_output = "../../owned"
    result = pixelflow("jobs", "download", jobs[0], "--out", tmp_path / "a" / "out")
    assert result.exit_code == 1
    assert list(tmp_path.rglob("*owned*")) == []


def test_list_sends_all_conditions(pixelflow: Run, api: StandIn, jobs: list[str]) -> None:
    api.seen.clear()
    options = ["--metadata", "n=1", "--created-after", "2026-11-23T10:00:00+0100", "--preset", "avatar@3"]
    listed = pixelflow("jobs", "list", *options, "--batch", jobs[0], "--json")
    assert [job["job_id"] for job in json.loads(listed.stdout)["data"]] == [jobs[1]]
    [seen] = api.seen
    for part in ("metadata.n=1", "created_after=2026-11-23T", "preset=avatar%403", f"batch={jobs[0]}"):
        assert part in seen.path
