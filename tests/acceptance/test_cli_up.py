"""``pixelflow up``: its output and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.running import PIXELFLOW, new_home

from pixelflow.cli.commands import up


@pytest.fixture
def home() -> Iterator[Path]:
    with new_home() as path:
        yield path


def environment(**settings: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIXELFLOW_")}
    return {**kept, **settings, "PYTHONUNBUFFERED": "1"}


@pytest.mark.parametrize(
    "wrong", [{"PIXELFLOW_MAX_SOURCE_BYTES": "abc"}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}], ids=str
)
def test_an_invalid_setting_is_reported_once_before_anything_is_started(home: Path, wrong: dict[str, str]) -> None:
    done = subprocess.run(
        [*PIXELFLOW, "up", "--home", str(home), "--api-port", "0", "--metrics-port", "0"],
        env=environment(**wrong),
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (78, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"Error: {next(iter(wrong))} is not valid: ")
    assert list((home / "logs").iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "code", "named"),
    [
        ({"PIXELFLOW_UP_PUBLIC_URL": "images.example"}, 2, "PIXELFLOW_UP_PUBLIC_URL"),
        ({"PIXELFLOW_UP_PUBLIC_URL": "https://images.example", "PIXELFLOW_BUCKETS": "{}"}, 1, "PIXELFLOW_BUCKETS"),
    ],
    ids=["no URL", "with buckets"],
)
def test_a_public_url_that_can_not_be_used_is_refused(
    home: Path, settings: dict[str, str], code: int, named: str
) -> None:
    done = subprocess.run(
        [*PIXELFLOW, "up", "--home", str(home)],
        env=environment(**settings), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert named in done.stderr
    assert list(home.iterdir()) == []


def test_none_stands_for_no_server_in_front_of_the_public_bucket() -> None:
    assert up._public_url("none") == ""
    assert up._public_url("http://127.0.0.1:8081") == "http://127.0.0.1:8081"


def test_it_is_not_ready_if_the_worker_can_not_start(home: Path) -> None:
    done = subprocess.run(
        [*PIXELFLOW, "up", "--home", str(home), "--api-port", "0", "--metrics-port", "0"],
        env=environment(PIXELFLOW_WORKER_TEMP_DIR=str(home / "missing")),
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "ready" not in done.stdout
    assert "Error: worker exited during startup" in done.stderr
    assert str(home / "missing") in done.stderr


def test_it_reports_start_readiness_and_stop_and_reads_its_port_from_the_environment(home: Path) -> None:
    log = home.with_name(f"{home.name}.log")
    with log.open("wb") as output:
        up = subprocess.Popen(
            [*PIXELFLOW, "up", "--home", str(home), "--metrics-port", "0"],
            env=environment(PIXELFLOW_API_PORT="18471"),
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + 120
        while "Press Ctrl-C to stop" not in log.read_text():
            assert time.monotonic() < deadline
            assert up.poll() is None, log.read_text()
            time.sleep(0.05)
        up.send_signal(signal.SIGINT)
        assert up.wait(60) == 0
        lines = log.read_text().splitlines()
    finally:
        up.kill()
        log.unlink()
    assert lines[0].startswith("Starting ")
    # The next free port, if this one is busy.
    assert any(line.startswith("PixelFlow is ready: http://127.0.0.1:184") for line in lines)
    assert any(line.startswith("Next, in another terminal: ") for line in lines)
    assert lines[-1] == "Stopped."
