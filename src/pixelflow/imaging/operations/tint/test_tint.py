"""Tint: colors by luminance."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from tests.unit.imaging.pictures import Flat

from pixelflow.imaging.operations.tint.model import Tint

DUOTONE = {"shadows": "#102030", "highlights": "#f0e0d0"}
CASES = [
    # gray, fields, result
    (0, DUOTONE, (16, 32, 48)),
    (255, DUOTONE, (240, 224, 208)),
    (51, DUOTONE, (16 + 224 / 5, 32 + 192 / 5, 48 + 160 / 5)),
    (128, {"midtones": "#8a6642"}, (138, 102, 66)),
    (0, {"midtones": "#8a6642"}, (0, 0, 0)),
    (255, {"midtones": "#8a6642"}, (255, 255, 255)),
    (64, {"midtones": "#8a6642"}, (69, 51, 33)),
    (100, {"highlights": "#ff0000"}, (100, 0, 0)),
    (0, {"shadows": "#640000", "amount": 0.5}, (50, 0, 0)),
]


@pytest.mark.parametrize(("gray", "fields", "expected"), CASES)
def test_a_gray_becomes_the_color_of_its_level(
    flat: Flat, gray: int, fields: dict[str, Any], expected: tuple[float, ...]
) -> None:
    assert flat((gray, gray, gray), action="tint", **fields) == pytest.approx(expected, abs=1)


def test_transparency_is_kept(flat: Flat) -> None:
    assert flat((255, 255, 255, 17), action="tint", **DUOTONE) == (240, 224, 208, 17)


@pytest.mark.parametrize("fields", [{}, {"amount": 0.5}, {"shadows": "#11223344"}, {"midtones": "rot"}])
def test_a_tint_needs_an_opaque_color(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Tint.model_validate({"id": "a", "action": "tint", **fields})
