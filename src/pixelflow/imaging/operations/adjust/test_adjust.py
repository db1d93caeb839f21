"""Adjust: the documented formulas, on flat colors."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from tests.unit.imaging.pictures import Flat

from pixelflow.imaging.operations.adjust.model import Adjust

COLOR = (200, 100, 50)
LUMA = 0.213 * 200 + 0.715 * 100 + 0.072 * 50
CASES: list[tuple[dict[str, Any], tuple[float, ...]]] = [
    ({"brightness": 1.2}, (240, 120, 60)),
    ({"brightness": 2}, (255, 200, 100)),
    ({"brightness": 0}, (0, 0, 0)),
    ({"contrast": 0}, (127.5, 127.5, 127.5)),
    ({"contrast": 2}, (255, 72.5, 0)),
    ({"brightness": 0.5, "contrast": 2}, (72.5, 0, 0)),
    ({"saturation": 0}, (LUMA, LUMA, LUMA)),
    ({"saturation": 1.2}, tuple(LUMA + 1.2 * (each - LUMA) for each in COLOR)),
    ({"gamma": 2}, tuple(255 * (each / 255) ** 0.5 for each in COLOR)),
    ({"hue": 0, "brightness": 1}, COLOR),
    ({"hue": 360}, COLOR),
    ({"hue": 180}, tuple(2 * LUMA - each for each in COLOR)),
]


@pytest.mark.parametrize(("fields", "expected"), CASES)
def test_a_color_is_changed_by_the_documented_formula(
    flat: Flat, fields: dict[str, Any], expected: tuple[float, ...]
) -> None:
    wanted = tuple(min(max(each, 0), 255) for each in expected)
    assert flat(COLOR, action="adjust", **fields) == pytest.approx(wanted, abs=1)


def test_a_third_of_the_circle_moves_red_toward_green(flat: Flat) -> None:
    red, green, blue = flat((120, 60, 60), action="adjust", hue=120)
    assert green > max(red, blue)


def test_transparency_is_kept(flat: Flat) -> None:
    assert flat((*COLOR, 10), action="adjust", brightness=0.5) == (100, 50, 25, 10)


@pytest.mark.parametrize(
    "fields", [{}, {"brightness": -1}, {"contrast": 11}, {"gamma": 0}, {"hue": 361}, {"saturation": float("nan")}]
)
def test_an_adjustment_needs_a_value_in_its_range(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Adjust.model_validate({"id": "a", "action": "adjust", **fields})
