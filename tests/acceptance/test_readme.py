"""The README's walk works as written: its own lines are run, in one shell, against a real ``pixelflow up``."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
START_SECONDS = 120.0
STOP_SECONDS = 60.0


def blocks(heading: str, language: str) -> list[str]:
    """The fenced blocks of one section."""
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


@dataclass
class Reader:
    """Somebody who does what the README says: a folder like this one, and a home for the stack."""

    folder: Path
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("PIXELFLOW_")}
        return {**ours, "PIXELFLOW_HOME": str(self.home), "PYTHONUTF8": "1"}

    def shell(self, script: str) -> list[str]:
        assert script
        return ["bash", "-euo", "pipefail", "-c", script]

    def credentials(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.home / "credentials.json").read_text())
        return {"PIXELFLOW_API_URL": found["api_url"], "PIXELFLOW_API_KEY": found["api_key"]}

    def outputs(self) -> dict[str, tuple[str | None, int, int]]:
        """Name → format and size of each picture in the folder ``outputs``."""
        found = {}
        for path in (self.folder / "outputs").iterdir():
            if path.suffix != ".json":
                with Image.open(path) as image:
                    found[path.name] = (image.format, *image.size)
        return found


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("clone")
    for name in (".venv", "examples"):
        (folder / name).symlink_to(ROOT / name)
    home = Path(tempfile.mkdtemp(prefix="pixelflow-readme-"))
    home.chmod(0o755)  # servers that gave up root have to enter it
    try:
        yield Reader(folder, home)
    finally:
        shutil.rmtree(home)


@pytest.fixture(scope="module")
def walked(reader: Reader) -> Iterator[subprocess.CompletedProcess[str]]:
    """The walk, done: the first terminal goes on running ``pixelflow up`` for the tests that follow."""
    first, *second = blocks("Five minutes with curl", "bash")
    with (reader.folder / "up.log").open("wb") as log:
        up = subprocess.Popen(
            reader.shell(first.replace(".venv/bin/pixelflow", "exec .venv/bin/pixelflow")),
            cwd=reader.folder, env=reader.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            wait_until_ready(up, reader.folder / "up.log")
            yield subprocess.run(
                reader.shell("".join(second)),
                cwd=reader.folder, env=reader.environment, capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip
        finally:
            up.send_signal(signal.SIGINT)
            up.wait(STOP_SECONDS)


def wait_until_ready(up: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while "PixelFlow is ready" not in (said := log.read_text()):
        assert up.poll() is None, said
        assert time.monotonic() < deadline, said
        time.sleep(0.05)


def test_the_curl_walk_makes_the_outputs_that_it_asks_for(
    reader: Reader, walked: subprocess.CompletedProcess[str]
) -> None:
    assert walked.returncode == 0, walked.stdout + walked.stderr
    job = json.loads((reader.folder / "outputs" / "job.json").read_text())
    assert (job["status"], job["error"]) == ("succeeded", None)
    assert job["metadata"] == {"sku": "A-17"}
    assert reader.outputs() == {
        "thumb.webp": ("WEBP", 150, 84),
        "hero.avif": ("AVIF", 1600, 900),
        "hero_marked.jpg": ("JPEG", 1600, 900),
    }


@pytest.mark.usefixtures("walked")
def test_the_command_line_finds_the_local_service_by_itself(reader: Reader) -> None:
    script, _ = blocks("The command line", "bash")
    done = subprocess.run(
        reader.shell(script),
        cwd=reader.folder, env=reader.environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("succeeded") == 2, done.stdout
    (name,) = [name for name in reader.outputs() if name.startswith("photo-")]
    assert reader.outputs()[name] == ("WEBP", 640, 360)


@pytest.mark.usefixtures("walked")
def test_the_key_of_a_second_user_opens_nothing_of_the_first_one_s(reader: Reader) -> None:
    _, script = blocks("The command line", "bash")
    made = subprocess.run(
        reader.shell(script),
        cwd=reader.folder, env=reader.environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    second = reader.credentials() | {"PIXELFLOW_API_KEY": made.stdout.strip()}
    listed = subprocess.run(
        [".venv/bin/pixelflow", "jobs", "list", "--json"],
        cwd=reader.folder, env={**reader.environment, **second},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (listed.returncode, json.loads(listed.stdout)) == (0, {"data": []})


@pytest.mark.usefixtures("walked")
def test_the_python_sample_makes_its_output(reader: Reader) -> None:
    (sample,) = blocks("Use it in your application", "python")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", sample],
        cwd=reader.folder, env={**reader.environment, **reader.credentials()},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pixels_processed=230400" in done.stdout
    assert reader.outputs()["small.webp"] == ("WEBP", 640, 360)
