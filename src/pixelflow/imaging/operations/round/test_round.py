"""Corners: their shape, their smooth edges, and colors that stay as they are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.unit.imaging.pictures import Run

Array = np.ndarray[Any, np.dtype[np.uint8]]


def result(run: Run, folder: Path, pixels: Array, **fields: object) -> Array:
    Image.fromarray(pixels).save(folder / "source.png")
    run(folder / "source.png", {"id": "rounded", "action": "round", **fields})
    with Image.open(folder / "rounded.png") as image:
        return np.asarray(image)


def noise(height: int, width: int, bands: int = 3) -> Array:
    return np.random.default_rng(5).integers(0, 256, (height, width, bands)).astype("u1")


def test_a_corner_has_exactly_these_pixels(run: Run, tmp_path: Path) -> None:
    """Coverage is 0.5 minus the distance of the pixel's center from the circle."""
    pixels = noise(6, 8)
    made = result(run, tmp_path, pixels, radius=2)
    expected = np.full((6, 8), 255)
    corner = [[97, 234], [234, 255]]
    expected[:2, :2] = corner
    expected[:2, -2:] = np.fliplr(corner)
    expected[-2:, :2] = np.flipud(corner)
    expected[-2:, -2:] = np.rot90(corner, 2)
    assert np.array_equal(made[..., 3], expected)
    assert np.array_equal(made[..., :3], pixels)


@pytest.mark.parametrize("side", [100, 101])
def test_half_of_a_square_is_a_circle(run: Run, tmp_path: Path, side: int) -> None:
    alpha = result(run, tmp_path, noise(side, side), radius="50%")[..., 3].astype(float)
    assert alpha.sum() / 255 == pytest.approx(math.pi * (side / 2) ** 2, rel=1e-3)
    assert np.array_equal(alpha, alpha.T)
    assert np.array_equal(alpha, alpha[::-1, ::-1])


@pytest.mark.parametrize(
    ("radius", "cut"),
    [
        ({"top_left": 10}, {(0, 0)}),
        ({"top_right": 10, "bottom_left": "10%"}, {(0, -1), (-1, 0)}),
        ({"bottom_right": 40}, {(-1, -1)}),
        (0, set()),
        ({}, set()),
    ],
)
def test_each_corner_has_its_own_radius(run: Run, tmp_path: Path, radius: object, cut: set[tuple[int, int]]) -> None:
    alpha = result(run, tmp_path, noise(60, 80), radius=radius)[..., 3]
    assert {(y, x) for y in (0, -1) for x in (0, -1) if alpha[y, x] == 0} == cut
    assert {(y, x) for y in (0, -1) for x in (0, -1) if alpha[y, x] == 255} == {
        (y, x) for y in (0, -1) for x in (0, -1)
    } - cut


def test_radii_that_overlap_are_reduced_together(run: Run, tmp_path: Path) -> None:
    """100 and 50 on a height of 60 become 40 and 20."""
    made = result(run, tmp_path, noise(60, 200), radius={"top_left": 100, "bottom_left": 50})
    other = result(run, tmp_path, noise(60, 200), radius={"top_left": 40, "bottom_left": 20})
    assert np.array_equal(made, other)


def test_translucent_pixels_keep_their_colors(run: Run, tmp_path: Path) -> None:
    pixels = np.full((40, 40, 4), [200, 100, 50, 90], "u1")
    made = result(run, tmp_path, pixels, radius=10)
    assert (made[..., :3] == [200, 100, 50]).all()
    assert made[20, 20, 3] == 90
    assert made[..., 3].max() == 90
    assert made[0, 0, 3] == 0


def test_a_format_without_transparency_shows_the_background(run: Run, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "source.png")
    step = {"id": "a", "action": "round", "radius": "50%", "format": "jpeg", "background": "#0000ff", "quality": 95}
    run(tmp_path / "source.png", step)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.getpixel((0, 0)) == pytest.approx((0, 0, 255), abs=6)
        assert image.getpixel((32, 32)) == pytest.approx((255, 0, 0), abs=6)
