"""Frames: their pixels, exactly, and no seam between frame and picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.unit.imaging.pictures import Run

Array = np.ndarray[Any, np.dtype[np.uint8]]


def result(run: Run, folder: Path, pixels: Array, **fields: object) -> Array:
    Image.fromarray(pixels).save(folder / "source.png")
    run(folder / "source.png", {"id": "framed", "action": "border", **fields})
    with Image.open(folder / "framed.png") as image:
        return np.array(image)


def noise(height: int, width: int, bands: int = 3) -> Array:
    return np.random.default_rng(5).integers(0, 256, (height, width, bands)).astype("u1")


@pytest.mark.parametrize(("width", "pixels"), [(3, 3), ("10%", 2)])
def test_a_border_outside_is_around_the_picture(run: Run, tmp_path: Path, width: int | str, pixels: int) -> None:
    source = noise(20, 30)
    made = result(run, tmp_path, source, width=width, color="#102030")
    expected = np.full((20 + 2 * pixels, 30 + 2 * pixels, 3), [16, 32, 48])
    expected[pixels:-pixels, pixels:-pixels] = source
    assert np.array_equal(made, expected)


def test_a_border_inside_covers_the_edges(run: Run, tmp_path: Path) -> None:
    source = noise(20, 30)
    made = result(run, tmp_path, source, width=3, color="#102030", position="inside")
    expected = np.full((20, 30, 3), [16, 32, 48])
    expected[3:-3, 3:-3] = source[3:-3, 3:-3]
    assert np.array_equal(made, expected)


def test_a_picture_shows_through_a_translucent_border_inside(run: Run, tmp_path: Path) -> None:
    source = noise(20, 30)
    made = result(run, tmp_path, source, width=3, color="#10203080", position="inside")
    mixed = source + (np.array([16, 32, 48]) - source.astype(float)) * (128 / 255)
    mixed[3:-3, 3:-3] = source[3:-3, 3:-3]
    assert made.shape == source.shape
    assert np.abs(made - mixed).max() <= 0.51


def test_a_translucent_border_outside_makes_the_result_transparent(run: Run, tmp_path: Path) -> None:
    made = result(run, tmp_path, noise(20, 30), width=3, color="#10203080")
    assert (made[0] == [16, 32, 48, 128]).all()
    assert (made[3:-3, 3:-3, 3] == 255).all()


@pytest.mark.parametrize("position", ["inside", "outside"])
@pytest.mark.parametrize("radius", ["50%", 12, {"top_left": 30}])
def test_a_frame_of_the_color_of_the_picture_is_seamless(
    run: Run, tmp_path: Path, position: str, radius: object
) -> None:
    source = np.full((60, 80, 3), [200, 100, 50], "u1")
    made = result(run, tmp_path, source, width=7, color="#c86432", position=position, radius=radius)
    visible = made[..., 3] > 0
    assert (made[visible][:, :3] == [200, 100, 50]).all()
    assert (made[9:-9, 9:-9, 3][25:-25, 25:-25] == 255).all()
    assert made[0, 0, 3] == 0


def test_the_inner_corners_match_the_outer_ones(run: Run, tmp_path: Path) -> None:
    """On the diagonal, the frame is as wide as at the sides."""
    source = np.full((200, 200, 3), 255, "u1")
    made = result(run, tmp_path, source, width=20, color="#000000", position="inside", radius=80).astype(float)
    diagonal = made[range(100), range(100)]
    dark = (1 - diagonal[:, 0] / 255) * diagonal[:, 3] / 255
    assert dark.sum() * 2**0.5 == pytest.approx(20, abs=0.5)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 9), (3, 3)])
def test_a_border_inside_leaves_a_pixel_of_the_picture(run: Run, tmp_path: Path, height: int, width: int) -> None:
    made = result(run, tmp_path, np.full((height, width, 3), 9, "u1"), width=500, color="#ffffff", position="inside")
    assert made.shape == (height, width, 3)
    assert (made == 9).any()


def test_translucent_pixels_keep_their_colors(run: Run, tmp_path: Path) -> None:
    source = np.full((40, 40, 4), [200, 100, 50, 10], "u1")
    made = result(run, tmp_path, source, width=4, color="#00ff00", radius=9)
    assert (made[6:-6, 6:-6] == [200, 100, 50, 10]).all()
