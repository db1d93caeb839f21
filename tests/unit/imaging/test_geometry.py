"""Positions and lengths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelflow.imaging.geometry import Size, length, place
from pixelflow.imaging.gravity import Gravity

sides = st.integers(1, 20_000)
pictures = st.builds(Size, sides, sides)


@given(outer=pictures, gravity=st.sampled_from(Gravity), share=st.floats(0, 1))
def test_a_position_is_within_the_picture(outer: Size, gravity: Gravity, share: float) -> None:
    inner = Size(max(1, int(outer.width * share)), max(1, int(outer.height * share)))
    left, top = place(gravity, outer, inner)
    assert 0 <= left <= outer.width - inner.width
    assert 0 <= top <= outer.height - inner.height


PLACES = {
    "northwest": (5, 5), "north": (40, 5), "northeast": (75, 5), "west": (5, 45), "center": (40, 45),
    "east": (75, 45), "southwest": (5, 85), "south": (40, 85), "southeast": (75, 85),
}  # fmt: skip


@pytest.mark.parametrize(("gravity", "expected"), PLACES.items())
def test_gravity_and_margin_set_the_position(gravity: str, expected: tuple[int, int]) -> None:
    assert place(Gravity(gravity), Size(100, 100), Size(20, 10), margin=5) == expected


@pytest.mark.parametrize(("value", "pixels"), [(12, 12), ("4%", 32), ("2.5%", 20), ("100%", 800)])
def test_a_length_is_pixels_or_a_percentage_of_the_shorter_side(value: int | str, pixels: float) -> None:
    assert length(value, 800) == pytest.approx(pixels)
