"""Pixelate: squares of one color."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.imaging.pictures import Draw


def test_each_square_gets_its_mean_color(draw: Draw) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (8, 12, 3)).astype("u1")
    result = draw(pixels, action="pixelate", size=4)
    means = pixels.reshape(2, 4, 3, 4, 3).mean(axis=(1, 3))
    assert result == pytest.approx(means.repeat(4, axis=0).repeat(4, axis=1), abs=1)


def test_transparent_pixels_do_not_color_their_square(draw: Draw) -> None:
    pixels = np.zeros((4, 4, 4), "u1")
    pixels[:, :2] = (200, 100, 50, 200)
    assert (draw(pixels, action="pixelate", size=4) == (200, 100, 50, 100)).all()


@pytest.mark.parametrize(("size", "side"), [("10%", 5), ("0.1%", 1), (50, 50), ("100%", 50), (16_384, 90)])
def test_the_size_is_pixels_or_a_percentage_of_the_shorter_side(draw: Draw, size: int | str, side: int) -> None:
    ramp = np.repeat(np.arange(90, dtype="u1")[None, :, None] * 2, 50, axis=0).repeat(3, axis=2)
    steps = np.flatnonzero(np.diff(draw(ramp, action="pixelate", size=size)[0, :, 0].astype(int))) + 1
    assert list(steps) == list(range(side, 90, side))


def test_squares_at_the_edge_are_cut(draw: Draw) -> None:
    pixels = np.full((5, 7, 3), 30, "u1")
    pixels[:, 6] = 90
    result = draw(pixels, action="pixelate", size=3)
    assert result.shape == (5, 7, 3)
    assert (result[:, :6] == 30).all()
    assert (result[:, 6] == 90).all()
