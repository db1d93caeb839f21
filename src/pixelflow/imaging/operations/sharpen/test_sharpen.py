"""Sharpen: edges gain contrast, flat areas and hues stay."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.imaging.pictures import Draw, Flat


def test_an_edge_overshoots_by_the_amount(draw: Draw) -> None:
    """At an edge of 100 levels, the pixel beside it differs from a Gaussian blur of sigma 1 by 31 levels."""
    pixels = np.full((20, 40, 3), 80, "u1")
    pixels[:, 20:] = 180
    for amount in (0.5, 1, 2):
        row = draw(pixels, action="sharpen", sigma=1, amount=amount)[10, :, 0].astype(int)
        assert row[19] == pytest.approx(80 - 31 * amount, abs=3)
        assert row[20] == pytest.approx(180 + 31 * amount, abs=3)
        assert list(row[:15]) == [80] * 15


def test_all_channels_change_alike(draw: Draw) -> None:
    pixels = np.full((20, 40, 3), (100, 80, 60), "u1")
    pixels[:, 20:] = (140, 120, 100)
    result = draw(pixels, action="sharpen", sigma=1, amount=1).astype(int)
    assert (result[..., 0] - result[..., 1] == 20).all()
    assert (result[..., 1] - result[..., 2] == 20).all()


@pytest.mark.parametrize("color", [(200, 100, 50), (200, 100, 50, 10)])
@pytest.mark.parametrize("sigma", [0.8, 30])
def test_a_flat_color_stays_what_it_is(flat: Flat, color: tuple[int, ...], sigma: float) -> None:
    assert flat(color, action="sharpen", sigma=sigma, amount=10) == color


def test_the_edge_of_transparency_gets_no_halo(draw: Draw) -> None:
    pixels = np.zeros((20, 40, 4), "u1")
    pixels[:, :20] = (200, 100, 50, 255)
    assert (draw(pixels, action="sharpen", sigma=2, amount=3)[:, :20] == (200, 100, 50, 255)).all()
