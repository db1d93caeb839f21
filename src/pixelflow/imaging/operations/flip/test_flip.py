"""Mirrored pixels, exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.unit.imaging.pictures import Run


@pytest.mark.parametrize(
    ("direction", "rows", "columns"), [("horizontal", 1, -1), ("vertical", -1, 1), ("both", -1, -1)]
)
def test_pixels_are_mirrored(run: Run, tmp_path: Path, direction: str, rows: int, columns: int) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (50, 70, 4)).astype("u1")
    Image.fromarray(pixels).save(tmp_path / "source.png")
    run(tmp_path / "source.png", {"id": "flipped", "action": "flip", "direction": direction})
    with Image.open(tmp_path / "flipped.png") as image:
        assert np.array_equal(np.asarray(image), pixels[::rows, ::columns])


def test_the_orientation_of_the_camera_comes_first(run: Run, tmp_path: Path) -> None:
    pixels, exif = np.random.default_rng(3).integers(0, 256, (50, 70, 3)).astype("u1"), Image.Exif()
    exif[0x0112] = 8  # to be turned counterclockwise
    Image.fromarray(pixels).save(tmp_path / "source.png", exif=exif)
    run(tmp_path / "source.png", {"id": "flipped", "action": "flip", "direction": "vertical"})
    with Image.open(tmp_path / "flipped.png") as image:
        assert np.array_equal(np.asarray(image), np.rot90(pixels)[::-1])
