"""The benchmark works: sections run, with tiny counts, and store figures of the documented form.

``make test`` runs two short sections; ``make bench-check`` runs all of them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.__main__ import _options
from bench.figures import BenchError, at_least, at_most, ratios, spread
from bench.sections import SECTIONS
from tests.acceptance.running import descendants, wait_for
from tests.bench.image_service import running_service

from bench import quality, report

TARGETS = {
    "users": {"alone.p50": 70, "ratio": 1.12, "worker.base": 3, "worker.per_mb": 1},
    "idle": {"pixelflow": 2, "stores": 1.5},
    "storage": {"six.ratio": 0.9},
    "fairness": {"deviation": 10, "lone.before": 1},
    "queue": {"ratio": 0.97},
    "engine": {
        "jpeg_640.mean": 1.0,
        "jpeg_640.greatest": 1.03,
        "jpeg_640.exact.mean": 0.85,
        "jpeg_640.exact.greatest": 0.9,
        "webp_640.exact.mean": 1.1,
        "webp_640.exact.greatest": 1.1,
        "watermark.mean": 1.1,
        "watermark.greatest": 1.1,
        "avif_640.mean": 1.1,
        "avif_640.greatest": 1.1,
    },
    "pixels": {"jpeg_640.around": 4.0, "webp_4.ratio": 0.85},
    "throughput": {
        "jpeg_640.two_against_one": 1.8,
        "jpeg_640.against_bare": 0.65,
        "webp_4.two_against_one": 1.8,
    },
    "latency": {"client.p50": 12, "client.p99": 30},
    "api": {"job.cpu": 4.0, "ratio": 0.4, "rejected.cpu": 0.15},
    "memory": {f"soak.{name}.growth": 1.05 for name in ("api", "controller", "worker", "child")},
}
"""Section → figure → target. 100 megapixels are too many for a test."""


SOME = ("engine", "api")
"""Together they use what sections share: a stack, loads, contenders, processor time."""

TESTED = tuple(SECTIONS) if os.environ.get("PIXELFLOW_TEST_BENCH") == "all" else SOME


def bench(*options: str) -> list[str]:
    return [sys.executable, "-m", "bench", "--tiny", *options]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The results and the output of a tiny run."""
    results = tmp_path_factory.mktemp("results")
    with running_service() as url:
        command = bench("--only", ",".join(TESTED), "--results", str(results), "--peers", f"imgproxy={url}")
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return results, done.stdout


def section(run: tuple[Path, str], name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run[0] / f"{name}.json").read_text())
    return found


@pytest.mark.parametrize("name", TESTED)
def test_a_section_stores_its_figures_with_their_spread_the_machine_and_the_versions(
    run: tuple[Path, str], name: str
) -> None:
    found = section(run, name)
    assert found["section"] == name
    assert all(found["about"])
    assert found["commit"]
    assert {"cpu", "cores", "kernel", "date"} <= found["machine"].keys()
    assert {"python", "libvips", "pillow"} <= found["versions"].keys()
    names = [figure["name"] for figure in found["figures"]]
    assert names
    assert len(set(names)) == len(names)
    for figure in found["figures"]:
        assert figure["low"] <= figure["median"] <= figure["high"]
        assert figure["samples"] >= 1
        assert (figure["met"] is None) == (figure["target"] is None)


@pytest.mark.parametrize("name", TESTED)
def test_figures_have_their_targets(run: tuple[Path, str], name: str) -> None:
    found = {figure["name"]: figure["target"]["value"] for figure in section(run, name)["figures"] if figure["target"]}
    assert found == TARGETS.get(name, {})


def test_the_versions_of_the_servers_are_stored_too(run: tuple[Path, str]) -> None:
    assert {"postgres", "valkey", "rclone"} <= section(run, "api")["versions"].keys()


@pytest.mark.skipif("peers" not in TESTED, reason="make bench-check runs the section `peers`")
@pytest.mark.parametrize("case", ["jpeg_640", "webp_4", "avif_640"])
def test_another_service_is_measured_and_scored_beside_pixelflow(run: tuple[Path, str], case: str) -> None:
    found = {figure["name"]: figure["median"] for figure in section(run, "peers")["figures"]}
    for contender in ("pixelflow", "pyvips", "imgproxy"):
        kinds = ("alone", "pairs", "cpu", "delta_e", "ssim", "bytes")
        assert all(found[f"{case}.{contender}.{kind}"] > 0 for kind in kinds)
        assert found[f"{case}.{contender}.delta_e"] < 4
        assert found[f"{case}.{contender}.ssim"] > 0.8


def test_the_table_of_targets_names_the_commit_and_the_origin_of_each_figure(run: tuple[Path, str]) -> None:
    results, _ = run
    page = (results / "README.md").read_text()
    assert f"commit {section(run, 'api')['commit'][:12]}" in page
    assert "| `api`, 2 |" in page


def test_a_run_prints_a_table_of_targets_and_plots_its_figures(run: tuple[Path, str]) -> None:
    results, output = run
    assert "met" in output
    page = (results / "README.md").read_text()
    assert all(f"## {name}" in page for name in TESTED)
    assert (results / "figures.svg").stat().st_size > 1000


def test_a_picture_identical_to_the_reference_has_the_best_score() -> None:
    picture = np.random.default_rng(1).uniform(0, 255, (40, 50, 3))
    same = quality.score(picture, picture)
    assert (same.color_difference, round(same.ssim, 6)) == (0, 1)
    worse = quality.score(np.clip(picture + 20, 0, 255), picture)
    assert worse.color_difference > 1
    assert worse.ssim < 1


# From the test data of Sharma, Wu and Dalal (2005), converted to sRGB: two reds, and black and white.
def test_the_color_difference_is_ciede2000() -> None:
    black, white = np.zeros((1, 1, 3)), np.full((1, 1, 3), 255.0)
    assert quality.color_difference(black, white)[0, 0] == pytest.approx(100, abs=0.01)
    red, darker = np.array([[[255.0, 0, 0]]]), np.array([[[250.0, 0, 0]]])
    assert quality.color_difference(red, darker)[0, 0] == pytest.approx(1.08, abs=0.1)


def test_a_spread_has_median_and_quartiles() -> None:
    found = spread([5.0, 1.0, 3.0, 2.0, 4.0])
    assert (found.low, found.median, found.high, found.samples) == (2, 3, 4, 5)
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2, 3]
    with pytest.raises(BenchError):
        spread([])


def test_a_target_is_met_when_it_is_exactly_reached() -> None:
    assert at_most(4).met_by(4)
    assert not at_most(4).met_by(4.1)
    assert at_least(0.65).met_by(0.65)
    assert not at_least(0.65).met_by(0.64)


def test_the_documentation_shows_the_stored_results() -> None:
    page = report.PAGE.read_text(encoding="utf-8")
    assert report.with_table(page, report.load(report.FOLDER, list(SECTIONS))) == page


def test_an_interrupted_run_leaves_no_process(tmp_path: Path) -> None:
    process = subprocess.Popen(
        bench("--only", "latency", "--results", str(tmp_path)), stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        wait_for(lambda: any("worker" in each.command for each in descendants(process.pid)), 60)
        processes = descendants(process.pid)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(timeout=300) == 130
    finally:
        process.kill()
        process.wait()
    wait_for(lambda: not any(each.alive for each in processes), 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--only", "nonsense"), "nonsense"),
        (("--peers", "nonsense=http://127.0.0.1:1"), "--peers"),
        (("--peers", "imgproxy=127.0.0.1:1"), "--peers"),
    ],
    ids=["unknown section", "unknown service", "incomplete URL"],
)
def test_an_invalid_option_is_rejected(
    options: tuple[str, str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *options])
    with pytest.raises(SystemExit) as exited:
        _options()
    assert exited.value.code == 2
    assert message in capsys.readouterr().err
