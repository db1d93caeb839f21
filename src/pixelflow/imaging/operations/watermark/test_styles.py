"""Styles of texts, and marks that are pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from tests.unit.imaging.marks import BACKGROUNDS, Draw, changed
from tests.unit.imaging.pictures import Run

from pixelflow.imaging.operations.watermark.model import Watermark

# ── Styles ───────────────────────────────────────────────────────────────────────────────────────

PLAIN: dict[str, Any] = {"size": 40, "opacity": 1, "gravity": "center"}


def found(image: Image.Image, color: tuple[int, int, int], tolerance: int = 12) -> tuple[int, int, int, int]:
    """The bounding box of about this color."""
    far = np.abs(np.asarray(image.convert("RGB")).astype(int) - color).max(axis=2) > tolerance
    ys, xs = np.nonzero(~far)
    assert len(xs), "the color is nowhere"
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def test_emoji_have_their_colors_and_letters_that_of_the_step(draw: Draw) -> None:
    _, image = draw(BACKGROUNDS["gray"], text="B ❤️", color="#0000ff", **PLAIN)
    letters, heart = found(image, (0, 0, 255)), found(image, (240, 80, 80), 60)
    assert letters[2] < heart[0]
    assert 20 < heart[2] - heart[0] < 60


def test_a_stroke_surrounds_the_letters_by_its_width(draw: Draw) -> None:
    plain = found(draw(BACKGROUNDS["gray"], text="■", color="#0000ff", **PLAIN)[1], (0, 0, 255))
    for width in (2, 8):
        stroke = {"width": width, "color": "#ff0000"}
        _, image = draw(BACKGROUNDS["gray"], text="■", color="#0000ff", stroke=stroke, **PLAIN)
        inner, outer = found(image, (0, 0, 255)), found(image, (255, 0, 0))
        assert inner[2] - inner[0] == pytest.approx(plain[2] - plain[0], abs=1)
        assert [inner[0] - outer[0], outer[2] - inner[2], outer[3] - inner[3]] == pytest.approx([width] * 3, abs=1)


def test_a_stroke_is_round_and_has_no_holes(draw: Draw) -> None:
    stroke = {"width": 10, "color": "#ff0000"}
    _, image = draw(BACKGROUNDS["gray"], text="■", color="#ff0000", stroke=stroke, **PLAIN)
    left, top, right, bottom = found(image, (255, 0, 0))
    red = np.asarray(image)[top:bottom, left:right, 0] > 240
    assert red[5:-5, 5:-5].all()
    missing = (~red).sum()
    assert missing == pytest.approx(4 * 100 * (1 - np.pi / 4), rel=0.3)  # four corners with a radius of 10


@pytest.mark.parametrize(("x", "y"), [(12, 6), (-12, 6), (0, -9)])
def test_a_shadow_is_where_its_offset_says(draw: Draw, x: int, y: int) -> None:
    shadow = {"x": x, "y": y, "blur": 0, "color": "#ff0000", "opacity": 1}
    _, image = draw(BACKGROUNDS["gray"], text="■", color="#0000ff80", shadow=shadow, **PLAIN)
    whole = changed((BACKGROUNDS["gray"], image))
    width, height = whole[2] - whole[0] - abs(x), whole[3] - whole[1] - abs(y)
    assert width == pytest.approx(height, abs=2)
    far = image.getpixel((whole[2] - 2 if x >= 0 else whole[0] + 1, whole[3] - 2 if y > 0 else whole[1] + 1))
    assert far == pytest.approx((255, 0, 0), abs=3)


def test_a_blurred_shadow_is_soft(draw: Draw) -> None:
    shadow = {"x": 0, "y": 0, "blur": 6, "color": "#000000", "opacity": 1}
    _, image = draw(BACKGROUNDS["white"], text="■", shadow=shadow, **PLAIN)
    levels = set(np.asarray(image.convert("L"))[100, :150].tolist())
    assert len(levels) > 12


def test_a_box_has_its_padding_and_round_corners(draw: Draw) -> None:
    box = {"color": "#ff0000", "padding": 10, "radius": 8}
    _, image = draw(BACKGROUNDS["gray"], text="■", color="#0000ff", box=box, **PLAIN)
    letter, whole = found(image, (0, 0, 255)), found(image, (255, 0, 0))
    sides = [letter[0] - whole[0], letter[1] - whole[1], whole[2] - letter[2], whole[3] - letter[3]]
    assert sides == pytest.approx([10] * 4, abs=1)
    assert image.getpixel(whole[:2]) == (128, 128, 128)
    assert image.getpixel((whole[0], (whole[1] + whole[3]) // 2)) == pytest.approx((255, 0, 0), abs=3)


def test_everything_together_is_as_translucent_as_the_step_says(draw: Draw) -> None:
    fields = PLAIN | {"opacity": 0.5, "stroke": {"width": 3, "color": "#ffffff"}, "box": {"color": "#ffffff"}}
    _, image = draw(BACKGROUNDS["black"], text="■", color="#ffffff", **fields)
    left, top, right, bottom = found(image, (128, 128, 128), 2)
    inside = np.asarray(image)[top + 1 : bottom - 1, left + 1 : right - 1]
    assert inside.min() >= 126
    assert inside.max() <= 129


def test_lines_are_wrapped_between_words(draw: Draw) -> None:
    words = "some words that are wrapped into lines"
    one = changed(draw(BACKGROUNDS["white"], text=words, size=12))
    many = changed(draw(BACKGROUNDS["white"], text=words, size=12, max_width=80))
    assert many[2] - many[0] <= 80 + 6
    assert many[3] - many[1] > 2.5 * (one[3] - one[1])
    share = changed(draw(BACKGROUNDS["white"], text=words, size=12, max_width="40%"))
    assert one[2] - one[0] > share[2] - share[0] > many[2] - many[0]
    long = changed(draw(BACKGROUNDS["white"], text="Donaudampfschifffahrt" * 2, size=12, max_width=80))
    assert long[2] - long[0] <= 80 + 6


def test_lines_are_apart_by_the_line_height(draw: Draw) -> None:
    heights = []
    for factor in (1, 2, 3):
        _, top, _, bottom = changed(draw(BACKGROUNDS["white"], text="■\n■", size=20, line_height=factor))
        heights.append(bottom - top)
    assert heights[1] - heights[0] == pytest.approx(27, abs=2)
    assert heights[2] - heights[1] == pytest.approx(27, abs=2)


@pytest.mark.parametrize("align", ["left", "center", "right"])
def test_lines_are_aligned(draw: Draw, align: str) -> None:
    _, image = draw(BACKGROUNDS["white"], text="■■■■■■\n■", align=align, size=24, opacity=1, color="#000000")
    dark = np.asarray(image.convert("L")) < 60
    rows = np.nonzero(dark.any(axis=1))[0]
    first, last = (np.nonzero(dark[row])[0] for row in (rows[2], rows[-3]))
    offsets = {"left": last.min() - first.min(), "right": first.max() - last.max()}
    offsets["center"] = (last.min() + last.max() - first.min() - first.max()) / 2
    assert offsets[align] == pytest.approx(0, abs=2)
    assert sum(abs(each) < 3 for each in offsets.values()) == 1


# ── Pictures ─────────────────────────────────────────────────────────────────────────────────────

LOGO = {"id": "logo", "action": "tint", "shadows": "#0000ff", "highlights": "#0000ff", "output": False}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"margin": 10}, (230, 150, 290, 190)),
        ({"margin": 0, "gravity": "northwest", "width": "50%"}, (0, 0, 150, 100)),
        ({"margin": 0, "gravity": "center", "height": 20}, (135, 90, 165, 110)),
        ({"margin": 20, "gravity": "center", "width": 16_384}, (30, 20, 270, 180)),
    ],
)
def test_a_picture_is_drawn_at_its_size(
    run: Run, tmp_path: Path, fields: dict[str, Any], expected: tuple[int, int, int, int]
) -> None:
    BACKGROUNDS["white"].save(tmp_path / "in.png")
    mark = {"image": {"step": "logo"}, "opacity": 1, **fields}
    run(tmp_path / "in.png", LOGO, {"id": "a", "action": "watermark", "watermark": mark, "format": "png"})
    with Image.open(tmp_path / "a.png") as image:
        assert found(image, (0, 0, 255)) == expected


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({}, "text"),
        ({"text": "x", "image": {"step": "source"}}, "image"),
        ({"text": "x", "width": 10}, "width"),
        ({"image": {"step": "source"}, "size": 10}, "size"),
        ({"image": {"step": "source"}, "box": {}}, "box"),
        ({"text": "x", "stroke": {"width": 0}}, "width"),
        ({"text": "x", "shadow": {"x": "-101%"}}, "x"),
        ({"text": "x", "line_height": 0.5}, "line_height"),
        ({"text": "x", "align": "justify"}, "align"),
    ],
)
def test_a_mark_is_a_text_or_a_picture_with_its_own_fields(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError) as error:
        Watermark.model_validate({"id": "a", "action": "watermark", "watermark": fields})
    assert {row["loc"][-1] if isinstance(row["loc"][-1], str) else "" for row in error.value.errors()} >= {where}
