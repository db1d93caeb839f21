"""Sizes of a resize: a table for every fit, and properties that hold for all sizes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelflow.imaging.geometry import Size
from pixelflow.imaging.gravity import Fit
from pixelflow.imaging.operations.resize.geometry import fit
from pixelflow.imaging.operations.resize.model import Resize

LANDSCAPE = Size(1200, 800)
SMALL = Size(90, 60)


def step(**fields: object) -> Resize:
    return Resize.model_validate({"id": "a", "action": "resize", **fields})


TABLE = [
    # picture, step, scaled to, canvas
    (LANDSCAPE, {"width": 600}, (600, 400), (600, 400)),
    (LANDSCAPE, {"height": 200}, (300, 200), (300, 200)),
    (LANDSCAPE, {"width": 333}, (333, 222), (333, 222)),
    (LANDSCAPE, {"width": 300, "height": 300, "fit": "inside"}, (300, 200), (300, 200)),
    (LANDSCAPE, {"width": 300, "height": 300, "fit": "outside"}, (450, 300), (450, 300)),
    (LANDSCAPE, {"width": 300, "height": 300, "fit": "cover"}, (450, 300), (300, 300)),
    (LANDSCAPE, {"width": 300, "height": 300, "fit": "contain"}, (300, 200), (300, 300)),
    (LANDSCAPE, {"width": 300, "height": 300, "fit": "fill"}, (300, 300), (300, 300)),
    # Smaller than the box: no side grows.
    (SMALL, {"width": 300}, (90, 60), (90, 60)),
    (SMALL, {"width": 300, "height": 300, "fit": "inside"}, (90, 60), (90, 60)),
    (SMALL, {"width": 300, "height": 300, "fit": "outside"}, (90, 60), (90, 60)),
    (SMALL, {"width": 300, "height": 300, "fit": "cover"}, (90, 60), (90, 60)),
    (SMALL, {"width": 300, "height": 40, "fit": "cover"}, (90, 60), (90, 40)),
    (SMALL, {"width": 300, "height": 300, "fit": "contain"}, (90, 60), (300, 300)),
    (SMALL, {"width": 300, "height": 300, "fit": "fill"}, (90, 60), (90, 60)),
    (SMALL, {"width": 300, "height": 30, "fit": "fill"}, (90, 30), (90, 30)),
    # With `enlarge`, it grows.
    (SMALL, {"width": 300, "enlarge": True}, (300, 200), (300, 200)),
    (SMALL, {"width": 300, "height": 300, "fit": "inside", "enlarge": True}, (300, 200), (300, 200)),
    (SMALL, {"width": 300, "height": 300, "fit": "outside", "enlarge": True}, (450, 300), (450, 300)),
    (SMALL, {"width": 300, "height": 300, "fit": "cover", "enlarge": True}, (450, 300), (300, 300)),
    (SMALL, {"width": 300, "height": 300, "fit": "contain", "enlarge": True}, (300, 200), (300, 300)),
    (SMALL, {"width": 300, "height": 300, "fit": "fill", "enlarge": True}, (300, 300), (300, 300)),
    # No side becomes 0.
    (Size(10_000, 3), {"width": 100}, (100, 1), (100, 1)),
    (Size(3, 10_000), {"width": 100, "height": 100, "fit": "cover"}, (3, 10_000), (3, 100)),
]


@pytest.mark.parametrize(("picture", "fields", "scaled", "canvas"), TABLE)
def test_each_fit_makes_the_expected_size(
    picture: Size, fields: dict[str, Any], scaled: tuple[int, int], canvas: tuple[int, int]
) -> None:
    assert fit(picture, step(**fields)) == (scaled, canvas)


sides = st.integers(1, 20_000)
boxes = st.integers(1, 16_384)
pictures = st.builds(Size, sides, sides)


@given(picture=pictures, width=boxes, height=boxes, fit_=st.sampled_from(Fit), enlarge=st.booleans())
def test_no_side_is_zero_and_no_side_grows_without_enlarge(
    picture: Size, width: int, height: int, fit_: Fit, enlarge: bool
) -> None:
    scaled, canvas = fit(picture, step(width=width, height=height, fit=fit_, enlarge=enlarge))
    assert min(*scaled, *canvas) >= 1
    assert enlarge or (scaled.width <= picture.width and scaled.height <= picture.height)


@given(picture=pictures, width=boxes, height=boxes, enlarge=st.booleans())
def test_inside_never_exceeds_the_box_and_touches_it_unless_the_picture_is_smaller(
    picture: Size, width: int, height: int, enlarge: bool
) -> None:
    scaled, _ = fit(picture, step(width=width, height=height, fit="inside", enlarge=enlarge))
    assert scaled.width <= width
    assert scaled.height <= height
    assert scaled == picture or scaled.width == width or scaled.height == height


@given(picture=pictures, width=boxes, height=boxes, enlarge=st.booleans())
def test_cover_is_exactly_the_box_when_the_picture_is_large_enough(
    picture: Size, width: int, height: int, enlarge: bool
) -> None:
    _, canvas = fit(picture, step(width=width, height=height, fit="cover", enlarge=enlarge))
    if enlarge or (picture.width >= width and picture.height >= height):
        assert canvas == (width, height)
    else:
        assert canvas == (min(width, picture.width), min(height, picture.height))


@given(picture=pictures, width=boxes, height=boxes)
def test_outside_covers_the_box_and_touches_it(picture: Size, width: int, height: int) -> None:
    scaled, _ = fit(picture, step(width=width, height=height, fit="outside", enlarge=True))
    assert scaled.width >= width
    assert scaled.height >= height
    assert scaled.width == width or scaled.height == height


@given(picture=pictures, width=boxes, height=boxes, fit_=st.sampled_from(["inside", "outside", "cover", "contain"]))
def test_the_aspect_ratio_stays_within_half_a_pixel(picture: Size, width: int, height: int, fit_: str) -> None:
    scaled, _ = fit(picture, step(width=width, height=height, fit=fit_, enlarge=True))
    by_width = abs(scaled.height - scaled.width * picture.height / picture.width)
    by_height = abs(scaled.width - scaled.height * picture.width / picture.height)
    assert min(by_width, by_height) <= 0.5 + 1e-6 or 1 in scaled
