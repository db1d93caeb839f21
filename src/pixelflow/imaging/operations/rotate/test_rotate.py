"""Turned pixels: exact for quarters; for other angles the position, the edges and the colors."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.unit.imaging.pictures import Run

from pixelflow.imaging.geometry import Size
from pixelflow.imaging.operations.rotate.geometry import canvas
from pixelflow.imaging.operations.rotate.model import Rotate

Array = np.ndarray[Any, np.dtype[np.uint8]]


def rotated(run: Run, folder: Path, pixels: Array, **fields: object) -> Array:
    Image.fromarray(pixels).save(folder / "source.png")
    run(folder / "source.png", {"id": "rotated", "action": "rotate", **fields})
    with Image.open(folder / "rotated.png") as image:
        return np.asarray(image)


def noise(height: int, width: int, bands: int = 3) -> Array:
    return np.random.default_rng(5).integers(0, 256, (height, width, bands)).astype("u1")


@pytest.mark.parametrize("angle", [0, 90, 180, 270, 360, -90, -180, -360, 90.0])
@pytest.mark.parametrize("canvas_", ["expand", "inner"])
def test_quarters_keep_every_pixel(run: Run, tmp_path: Path, angle: float, canvas_: str) -> None:
    pixels = noise(50, 70, 4)
    result = rotated(run, tmp_path, pixels, angle=angle, canvas=canvas_)
    assert np.array_equal(result, np.rot90(pixels, round(-angle / 90)))


def test_a_quarter_in_the_same_size_is_cut_and_padded(run: Run, tmp_path: Path) -> None:
    pixels = noise(4, 8)
    result = rotated(run, tmp_path, pixels, angle=90, canvas="keep", background="#102030")
    assert result.shape == pixels.shape
    assert np.array_equal(result[:, 2:6], np.rot90(pixels, -1)[2:6])
    assert (result[:, :2] == [16, 32, 48]).all()
    assert (result[:, 6:] == [16, 32, 48]).all()


SIZES = [
    # picture, angle, canvas, result
    (Size(100, 100), 45, "expand", (142, 142)),
    (Size(100, 50), 30, "expand", (112, 94)),
    (Size(100, 50), -30, "expand", (112, 94)),
    (Size(100, 50), 150, "expand", (112, 94)),
    (Size(100, 50), 30, "keep", (100, 50)),
    (Size(100, 100), 45, "inner", (70, 70)),
    (Size(100, 50), 45, "inner", (35, 35)),
    (Size(300, 200), 5, "inner", (285, 175)),
    (Size(200, 300), 5, "inner", (175, 285)),
    (Size(1000, 10), 30, "inner", (10, 5)),
    (Size(1, 1), 45, "inner", (1, 1)),
    (Size(1, 1), 45, "expand", (2, 2)),
]


@pytest.mark.parametrize(("picture", "angle", "canvas_", "result"), SIZES)
def test_sizes(picture: Size, angle: float, canvas_: str, result: tuple[int, int]) -> None:
    assert canvas(picture, Rotate(id="a", action="rotate", angle=angle, canvas=canvas_)) == result


@given(
    width=st.integers(20, 2000),
    height=st.integers(20, 2000),
    angle=st.floats(-360, 360).filter(lambda angle: abs(angle % 90 - 45) < 44.9),
)
def test_the_inner_part_lies_within_the_turned_picture(width: int, height: int, angle: float) -> None:
    inner = canvas(Size(width, height), Rotate(id="a", action="rotate", angle=angle, canvas="inner"))
    radians = math.radians(-angle)
    for x, y in ((inner.width / 2, inner.height / 2), (inner.width / 2, -inner.height / 2)):
        assert abs(x * math.cos(radians) - y * math.sin(radians)) <= width / 2 + 0.01 or 1 in inner
        assert abs(x * math.sin(radians) + y * math.cos(radians)) <= height / 2 + 0.01 or 1 in inner


def test_a_positive_angle_turns_clockwise_around_the_center(run: Run, tmp_path: Path) -> None:
    """A dot right of the center moves down, and neither of its coordinates is off by more than a tenth."""
    y, x = np.mgrid[0:101, 0:201]
    dot = (255 * np.clip(6 - np.hypot(x - 160, y - 50), 0, 1)).astype("u1")
    result = rotated(run, tmp_path, np.dstack([dot] * 3), angle=30, canvas="keep", background="#000000")
    level = result[..., 0].astype(float)
    assert (level * x).sum() / level.sum() == pytest.approx(100 + 60 * math.cos(math.radians(30)), abs=0.1)
    assert (level * y).sum() / level.sum() == pytest.approx(50 + 60 * math.sin(math.radians(30)), abs=0.1)


@pytest.mark.parametrize("background", ["#c8643200", "#c8643280", "#c86432"])
def test_a_background_of_the_same_color_leaves_no_fringe(run: Run, tmp_path: Path, background: str) -> None:
    pixels = np.full((60, 80, 3), [200, 100, 50], "u1")
    result = rotated(run, tmp_path, pixels, angle=33, background=background)
    visible = result if result.shape[2] == 3 else result[result[..., 3] > 20]
    assert np.abs(visible[..., :3].astype(int) - [200, 100, 50]).max() <= 6
    opaque = result[result[..., 3] == 255] if result.shape[2] == 4 else result
    assert (opaque[..., :3] == [200, 100, 50]).all()


def test_the_edges_are_smooth(run: Run, tmp_path: Path) -> None:
    """The alpha of the whole result adds up to the area of the picture."""
    alpha = rotated(run, tmp_path, np.full((60, 80, 3), 9, "u1"), angle=10, background="#00000000")[..., 3]
    assert alpha.astype(float).sum() / 255 == pytest.approx(60 * 80, rel=0.01)
    assert len(np.unique(alpha)) > 20


def test_the_inner_part_has_no_background(run: Run, tmp_path: Path) -> None:
    result = rotated(run, tmp_path, np.full((60, 80, 3), 200, "u1"), angle=10, canvas="inner", background="#000000")
    assert (result == 200).all()


def test_translucent_colors_do_not_get_darker(run: Run, tmp_path: Path) -> None:
    pixels = np.full((60, 80, 4), [200, 100, 50, 90], "u1")
    result = rotated(run, tmp_path, pixels, angle=20, canvas="inner")
    assert np.abs(result.astype(int) - [200, 100, 50, 90]).max() <= 1
