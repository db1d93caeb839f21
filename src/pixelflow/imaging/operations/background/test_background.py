"""Background: a color behind transparent parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.unit.imaging.pictures import Flat, Run

CASES: list[tuple[tuple[int, ...], str, tuple[float, ...]]] = [
    ((200, 100, 50, 0), "#204060", (32, 64, 96)),
    ((200, 100, 50, 255), "#204060", (200, 100, 50)),
    ((200, 100, 50, 10), "#c86432", (200, 100, 50)),
    ((200, 100, 50, 51), "#000000", (40, 20, 10)),
    ((200, 100, 50), "#204060", (200, 100, 50)),
    ((0, 0, 0, 0), "#20406080", (32, 64, 96, 128)),
    ((200, 100, 50, 10), "#c864320a", (200, 100, 50, 20)),
]


@pytest.mark.parametrize(("color", "background", "expected"), CASES)
def test_a_color_is_seen_through_transparent_parts(
    flat: Flat, color: tuple[int, ...], background: str, expected: tuple[float, ...]
) -> None:
    assert flat(color, action="background", background=background) == pytest.approx(expected, abs=0.51)


def test_a_format_without_transparency_gets_the_exact_color(run: Run, tmp_path: Path) -> None:
    Image.fromarray(np.full((16, 16, 4), (200, 200, 200, 10), "u1")).save(tmp_path / "in.png")
    step = {"id": "a", "action": "grayscale", "background": "#c8c8c8", "format": "jpeg", "quality": 100}
    run(tmp_path / "in.png", step)
    assert (np.asarray(Image.open(tmp_path / "a.jpg")) == 200).all()
