"""Grayscale: gray of the same luminance."""

from __future__ import annotations

import pytest
from tests.unit.imaging.pictures import Flat

COLORS = [
    # the gray with the luminance 0.2126 R + 0.7152 G + 0.0722 B of linear light, by the curve of sRGB
    ((255, 0, 0), 127),
    ((0, 255, 0), 220),
    ((0, 0, 255), 76),
    ((200, 100, 50), 128),
    ((128, 128, 128), 128),
]


@pytest.mark.parametrize(("color", "gray"), COLORS)
def test_a_color_becomes_gray_of_the_same_luminance(flat: Flat, color: tuple[int, ...], gray: int) -> None:
    result = flat(color, action="grayscale")
    assert result == pytest.approx((gray, gray, gray), abs=1)
    assert len(set(result)) == 1


def test_transparency_is_kept(flat: Flat) -> None:
    assert flat((255, 0, 0, 90), action="grayscale") == pytest.approx((127, 127, 127, 90), abs=1)
