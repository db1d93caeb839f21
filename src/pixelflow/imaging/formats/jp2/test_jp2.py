"""JPEG 2000: decoded at a lower resolution, if the file has one."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from tests.unit.imaging.pictures import Run, four_colors, upright

from pixelflow.imaging.formats.jp2.codestream import count_levels


@pytest.mark.parametrize("boxed", [True, False])
@pytest.mark.parametrize("resolutions", [1, 2, 3, 6])
def test_every_number_of_resolutions_is_read(run: Run, tmp_path: Path, resolutions: int, boxed: bool) -> None:
    path = tmp_path / "in.jp2"
    four_colors(1200, 800).save(path, "JPEG2000", num_resolutions=resolutions, no_jp2=not boxed)
    assert count_levels(path.read_bytes()[:4096]) == resolutions - 1
    run(path, {"id": "a", "action": "resize", "width": 30, "format": "png"})
    assert upright(Image.open(tmp_path / "a.png"))


@pytest.mark.parametrize("kept", [0, 20, 90, 120])
def test_a_header_that_ends_early_has_no_levels(kept: int) -> None:
    file = io.BytesIO()
    four_colors(12, 8).save(file, "JPEG2000")
    assert count_levels(file.getvalue()[:kept]) == 0


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("RGBA", (200, 10, 10, 128), (200, 10, 10, 128)),
        ("LA", (90, 128), (90, 128)),
        ("L", 90, 90),
        ("I;16", 30_000, 117),
    ],
)
def test_every_kind_of_pixel_is_read(run: Run, tmp_path: Path, mode: str, color: object, expected: object) -> None:
    Image.new(mode, (40, 30), color).save(tmp_path / "in.jp2")  # type: ignore[arg-type]
    run(tmp_path / "in.jp2", {"id": "a", "action": "resize", "width": 20, "format": "png"})
    with Image.open(tmp_path / "a.png") as image:
        assert image.getpixel((9, 9)) == expected
