"""``pixelflow demo``, from start to end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.acceptance.pictures import opened
from tests.support.command_line import command_line

ROOT = Path(__file__).parents[2]


def demo(photo: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run the demo; a variable in the environment marks its processes."""
    command = [sys.executable, "-m", "pixelflow", "demo", str(photo), "--out", str(tmp_path / "out")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIXELFLOW_")}
    environment["PIXELFLOW_TEST_MARK"] = str(tmp_path)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


def left_behind(tmp_path: Path) -> list[str]:
    """Processes of the demo that are still running."""
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"PIXELFLOW_TEST_MARK={tmp_path}".encode() in (process / "environ").read_bytes():
                left.append((process / "cmdline").read_text())
        except OSError:
            continue
    return left


def test_it_prints_each_stage_and_leaves_five_outputs_and_no_process(tmp_path: Path) -> None:
    result = demo(ROOT / "examples" / "photo.jpg", tmp_path)
    assert result.returncode == 0, result.stderr
    stages = [line.split()[2] for line in result.stdout.splitlines() if line[:7].strip().replace(".", "").isdigit()]
    assert [stages[0], stages[-1]] == ["starting", "stopped"]
    life = ["ready", "created", "uploaded", "queued", "succeeded", "downloaded"]
    assert [stage for stage in stages if stage in life] == life
    pictures = {path.name: opened(path.read_bytes()) for path in (tmp_path / "out").iterdir()}
    sizes = {name: (picture.format, picture.size) for name, picture in pictures.items()}
    assert sizes == {
        "thumb.webp": ("WEBP", (150, 84)),
        "card.webp": ("WEBP", (640, 360)),
        "hero.avif": ("AVIF", (1600, 700)),
        "hero_marked.jpg": ("JPEG", (1600, 700)),
        "tile.png": ("PNG", (256, 256)),
    }
    for name in sizes:
        assert str(tmp_path / "out" / name) in result.stdout
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "name"),
    [(b"", "empty"), (b"not a picture", "text"), (b"PK\3\4..", "a ZIP archive"), (b"RIFF....WAVE", "audio (WAV)")],
)
def test_a_file_that_is_not_a_photo_exits_with_2_before_anything_is_started(
    tmp_path: Path, content: bytes, name: str
) -> None:
    file = tmp_path / "text.jpg"
    file.write_bytes(content)
    result = command_line({})("demo", file, "--out", tmp_path / "out")
    assert (result.returncode, result.stdout) == (2, "")
    assert f" is {name}" in result.stderr


def test_a_damaged_photo_exits_with_1_and_everything_is_stopped(tmp_path: Path) -> None:
    photo = tmp_path / "broken.jpg"
    photo.write_bytes((ROOT / "examples" / "photo.jpg").read_bytes()[:300])
    result = demo(photo, tmp_path)
    assert (result.returncode, "undecodable" in result.stderr) == (1, True)
    assert left_behind(tmp_path) == []
