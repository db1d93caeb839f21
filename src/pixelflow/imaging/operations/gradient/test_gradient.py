"""Gradient: the colors of CSS, at the places of CSS."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from tests.unit.imaging.pictures import Draw, Pixels

from pixelflow.imaging.operations.gradient.model import Gradient

BLACK_TO_WHITE = [{"color": "#000000"}, {"color": "#ffffff"}]
BLANK = np.full((40, 100, 3), 128, "u1")


def drawn(draw: Draw, *, pixels: Pixels = BLANK, **fields: object) -> Pixels:
    return draw(pixels, action="gradient", **fields)


@pytest.mark.parametrize(
    ("angle", "axis", "reverse"), [(90, 1, 1), (-90, 1, -1), (270, 1, -1), (180, 0, 1), (0, 0, -1)]
)
def test_a_straight_gradient_is_linear(draw: Draw, angle: int, axis: int, reverse: int) -> None:
    result = drawn(draw, angle=angle, stops=BLACK_TO_WHITE)
    length = BLANK.shape[axis]
    expected = ((np.arange(length) + 0.5) / length * 255)[::reverse]
    line = result[7, :, 1] if axis == 1 else result[:, 7, 1]
    assert line == pytest.approx(expected, abs=0.7)
    assert (result == (result[:1] if axis == 1 else result[:, :1])).all()


def test_an_oblique_gradient_ends_in_the_corners(draw: Draw) -> None:
    """CSS: 45° on 100 × 40 px has a length of (100 + 40) × sin 45°, and 50 % in the middle."""
    result = drawn(draw, angle=45, stops=BLACK_TO_WHITE)[..., 0].astype(int)
    assert result[39, 0] == pytest.approx(255 / 140, abs=1)
    assert result[0, 99] == pytest.approx(255 - 255 / 140, abs=1)
    assert result[19:21, 49:51].mean() == pytest.approx(127.5, abs=1)
    assert result[0, 0] == pytest.approx(255 * 40 / 140, abs=2)


STOPS: list[tuple[list[dict[str, Any]], dict[int, int]]] = [
    # stops, column of 100 → level
    ([{"color": "#000000", "at": "50%"}, {"color": "#ffffff"}], {10: 0, 49: 0, 75: 130, 99: 254}),
    ([{"color": "#000000"}, {"color": "#ffffff", "at": "25%"}], {12: 127, 30: 255, 99: 255}),
    ([{"color": "#000000"}, {"color": "#ffffff"}, {"color": "#000000"}], {25: 130, 49: 252, 75: 125}),
    ([{"color": "#000000", "at": "50%"}, {"color": "#ffffff", "at": "50%"}], {49: 0, 50: 255}),
    ([{"color": "#000000", "at": "60%"}, {"color": "#ffffff", "at": "20%"}], {59: 0, 61: 255}),
]


@pytest.mark.parametrize(("stops", "expected"), STOPS)
def test_stops_are_where_they_say(draw: Draw, stops: list[dict[str, Any]], expected: dict[int, int]) -> None:
    row = drawn(draw, angle=90, stops=stops)[0, :, 0]
    assert {column: int(row[column]) for column in expected} == pytest.approx(expected, abs=2)


def test_a_transparent_stop_adds_no_color(draw: Draw) -> None:
    """With colors that are not premultiplied, the middle would be tinted by the green of the stop."""
    white = np.full((4, 100, 3), 255, "u1")
    row = drawn(draw, pixels=white, angle=90, stops=[{"color": "#00ff0000"}, {"color": "#ff0000"}])[0].astype(int)
    assert (row[:, 0] == 255).all()
    assert row[:, 1] == pytest.approx(255 - (np.arange(100) + 0.5) / 100 * 255, abs=1)


def test_rows_under_the_transparent_part_stay_as_they_are(draw: Draw) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (80, 30, 4)).astype("u1")
    result = drawn(draw, pixels=noise, stops=[{"color": "#00000000", "at": "50%"}, {"color": "#000000"}])
    assert (result[:40] == noise[:40]).all()
    assert result[79, :, :3].max() < 8
    assert (result[79, :, 3] >= 250).all()


def test_an_invisible_gradient_changes_nothing(draw: Draw) -> None:
    stops = [{"color": "#12345600"}, {"color": "#65432100"}]
    assert (drawn(draw, stops=stops) == BLANK).all()
    assert (drawn(draw, stops=stops, angle=30) == BLANK).all()


@pytest.mark.parametrize(
    "stops", [[], [{"color": "#000000"}], [{"color": "blackish"}] * 2, [{"color": "#000000"}] * 17, [{"at": "1%"}] * 2]
)
def test_a_gradient_has_two_to_sixteen_colors(stops: list[dict[str, Any]]) -> None:
    with pytest.raises(ValidationError):
        Gradient.model_validate({"id": "a", "action": "gradient", "stops": stops})
