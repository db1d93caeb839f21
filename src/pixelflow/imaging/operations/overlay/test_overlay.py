"""Overlay: exact colors, sizes and positions."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image
from pydantic import ValidationError
from tests.unit.imaging.pictures import Draw, Pixels, Run

from pixelflow.imaging.blend import Blend
from pixelflow.imaging.engine import Transform
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.layers import draw as draw_layer
from pixelflow.imaging.layers import layer_of
from pixelflow.imaging.operations.overlay.geometry import position, scaled_size
from pixelflow.imaging.operations.overlay.model import Overlay
from pixelflow.imaging.picture import Picture
from pixelflow.imaging.protocol import TransformLimits, TransformRequest

CANVAS = Size(400, 200)
WIDE, TALL = Size(100, 50), Size(50, 100)


def step(**fields: object) -> Overlay:
    return Overlay.model_validate({"id": "a", "action": "overlay", "image": {"step": "source"}, **fields})


SIZES: list[tuple[Size, dict[str, Any], tuple[int, int]]] = [
    # overlay, step, drawn size
    (WIDE, {}, (100, 50)),
    (WIDE, {"width": 40}, (40, 20)),
    (WIDE, {"width": "50%"}, (200, 100)),
    (WIDE, {"height": "50%"}, (200, 100)),
    (TALL, {"width": "50%"}, (100, 200)),
    (WIDE, {"width": 80, "height": 10}, (20, 10)),
    (WIDE, {"width": "100%", "margin": 20}, (320, 160)),
    (Size(900, 900), {}, (200, 200)),
    (Size(900, 900), {"overflow": True}, (900, 900)),
    (WIDE, {"width": 800, "overflow": True}, (800, 400)),
    (WIDE, {"width": 800, "overflow": True, "tile": True}, (400, 200)),
    (WIDE, {"width": 400, "rotation": 90}, (200, 100)),
    (Size(100, 100), {"height": 200, "rotation": 45}, (141, 141)),
    (Size(1000, 1), {"width": 10}, (10, 1)),
]


@pytest.mark.parametrize(("original", "fields", "expected"), SIZES)
def test_an_overlay_is_as_large_as_asked_and_fits(
    original: Size, fields: dict[str, Any], expected: tuple[int, int]
) -> None:
    assert scaled_size(original, CANVAS, step(**fields)) == expected


POSITIONS: list[tuple[dict[str, Any], tuple[int, int]]] = [
    ({}, (150, 75)),
    ({"gravity": "northwest", "margin": 7}, (7, 7)),
    ({"gravity": "southeast", "margin": "5%"}, (290, 140)),
    ({"gravity": "southeast", "margin": "100%"}, (250, 100)),
    ({"x": 30, "y": "50%"}, (30, 100)),
    ({"x": 30, "gravity": "south"}, (30, 150)),
    ({"x": 350, "y": 199}, (300, 150)),
    ({"x": 350, "y": 199, "overflow": True}, (350, 199)),
]


@pytest.mark.parametrize(("fields", "expected"), POSITIONS)
def test_an_overlay_is_where_the_step_says(fields: dict[str, Any], expected: tuple[int, int]) -> None:
    assert position(WIDE, CANVAS, step(**fields)) == expected


def over(below: tuple[int, ...], above: tuple[int, ...]) -> tuple[float, ...]:
    """Porter and Duff's formula, without any rounding."""
    red_green_blue, behind = below[:3], (below[3] if len(below) == 4 else 255) / 255
    alpha = above[3] / 255
    result = alpha + behind * (1 - alpha)
    colors = (
        (a * alpha + b * behind * (1 - alpha)) / (result or 1) for a, b in zip(above[:3], red_green_blue, strict=True)
    )
    return (*colors, result * 255)[: len(below)]


COLORS = [(200, 100, 50), (200, 100, 50, 255), (200, 100, 50, 10), (0, 0, 0, 0), (255, 255, 255, 128), (255, 255, 255)]
LAYERS = [(200, 100, 50, 10), (200, 100, 50, 128), (13, 240, 77, 1), (13, 240, 77, 200), (1, 2, 3, 0), (9, 8, 7, 255)]


def flat_image(color: tuple[int, ...], size: tuple[int, int] = (8, 8)) -> pyvips.Image:
    pixels = np.full((size[1], size[0], len(color)), color, "u1")
    return pyvips.Image.new_from_array(pixels).copy(interpretation="srgb")


@pytest.mark.parametrize("below", COLORS)
@pytest.mark.parametrize("above", LAYERS)
def test_translucent_colors_are_mixed_without_darkening(below: tuple[int, ...], above: tuple[int, ...]) -> None:
    result = draw_layer(flat_image(below), flat_image(above, (3, 3)), 2, 2)
    expected = over(below, above)
    hidden = len(below) == 4 and round(expected[3]) == 0
    assert hidden or result(3, 3) == pytest.approx(expected, abs=0.51)
    assert result(1, 1) == list(below)
    assert result.format == "uchar"


MODES: dict[Blend, Callable[[float, float], float]] = {
    # W3C Compositing and Blending Level 1, section 9, for channels b below and s above, from 0 to 1
    Blend.OVER: lambda _, s: s,
    Blend.MULTIPLY: lambda b, s: b * s,
    Blend.SCREEN: lambda b, s: b + s - b * s,
    Blend.OVERLAY: lambda b, s: 2 * b * s if b <= 0.5 else 1 - 2 * (1 - b) * (1 - s),
    Blend.DARKEN: min,
    Blend.LIGHTEN: max,
    Blend.COLOR_DODGE: lambda b, s: min(1, b / (1 - s)),
    Blend.COLOR_BURN: lambda b, s: 1 - min(1, (1 - b) / s),
    Blend.HARD_LIGHT: lambda b, s: 2 * b * s if s <= 0.5 else 1 - 2 * (1 - b) * (1 - s),
    Blend.SOFT_LIGHT: lambda b, s: (
        b - (1 - 2 * s) * b * (1 - b)
        if s <= 0.5
        else b + (2 * s - 1) * ((((16 * b - 12) * b + 4) * b if b <= 0.25 else b**0.5) - b)
    ),
    Blend.DIFFERENCE: lambda b, s: abs(b - s),
    Blend.EXCLUSION: lambda b, s: b + s - 2 * b * s,
}


@pytest.mark.parametrize("mode", Blend)
def test_each_blend_mode_follows_its_formula(mode: Blend) -> None:
    below, above = (200, 100, 40), (60, 180, 90)
    result = draw_layer(flat_image(below), flat_image((*above, 255)), 0, 0, mode)(0, 0)
    expected = [255 * MODES[mode](b / 255, s / 255) for b, s in zip(below, above, strict=True)]
    assert result == pytest.approx(expected, abs=1)


def marked(result: Pixels, color: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what has about this color."""
    ys, xs = np.nonzero((np.abs(result[..., :3].astype(int) - color).max(axis=2)) < 40)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


RED = np.full((60, 100, 3), (220, 0, 0), "u1")
BLUE = {"id": "logo", "action": "tint", "shadows": "#0000dc", "highlights": "#0000dc"}


def test_another_step_is_drawn_where_asked_and_nothing_else_changes(draw: Draw) -> None:
    result = draw(RED, BLUE, action="overlay", image={"step": "logo"}, width="20%", x=10, y=5)
    assert marked(result, (0, 0, 220)) == (10, 5, 30, 17)
    inside = np.zeros((60, 100), bool)
    inside[5:17, 10:30] = True
    assert (result[~inside] == (220, 0, 0)).all()


def test_a_picture_beyond_the_edges_is_cut(draw: Draw) -> None:
    result = draw(RED, BLUE, action="overlay", image={"step": "logo"}, width=50, x=80, y=40, overflow=True)
    assert marked(result, (0, 0, 220)) == (80, 40, 100, 60)
    outside = draw(RED, BLUE, action="overlay", image={"step": "logo"}, x=100, overflow=True)
    assert (outside == RED).all()


def test_a_picture_can_be_blended_with_itself(draw: Draw) -> None:
    gray = np.full((6, 6, 3), 128, "u1")
    assert (draw(gray, action="overlay", image={"step": "source"}, blend="multiply") == 64).all()


def test_the_larger_picture_is_reduced_for_the_smaller_canvas(draw: Draw) -> None:
    small = {"id": "small", "action": "resize", "width": 30}
    result = draw(RED, small, BLUE, **{"from": "small"}, action="overlay", image={"step": "logo"})
    assert result.shape == (18, 30, 3)
    assert (result == (0, 0, 220)).all()


def test_a_rotated_overlay_keeps_its_middle_and_has_smooth_edges(draw: Draw) -> None:
    result = draw(RED, BLUE, action="overlay", image={"step": "logo"}, width=40, rotation=45)
    left, top, right, bottom = marked(result, (0, 0, 220))
    assert (left + right) / 2 == pytest.approx(50, abs=1)
    assert (top + bottom) / 2 == pytest.approx(30, abs=1)
    assert right - left == pytest.approx((40 + 24) * 0.707, abs=3)
    mixed = result[(result[..., 0] > 0) & (result[..., 2] > 0)].astype(int)
    assert len(mixed) > 20
    assert mixed.sum(axis=1) == pytest.approx(220, abs=3)  # no dark fringe


@pytest.mark.parametrize(("degrees", "corner"), [(90, (1, 0)), (180, (1, 1)), (-90, (0, 1))])
def test_rotation_is_clockwise(draw: Draw, degrees: int, corner: tuple[int, int]) -> None:
    """The bright corner of the overlay is its northwest one."""
    pixels = np.zeros((20, 20, 3), "u1")
    pixels[:10, :10] = 250
    result = draw(pixels, action="overlay", image={"step": "source"}, rotation=degrees)
    x, y = (5 + 10 * each for each in corner)
    assert result[y, x, 0] == 250
    assert result[..., 0].sum() == 100 * 250


def test_opacity_multiplies_the_transparency_of_the_picture(draw: Draw) -> None:
    pixels = np.full((4, 4, 4), (10, 20, 30, 100), "u1")
    result = draw(pixels, action="overlay", image={"step": "source"}, opacity=0.5)
    assert (result == (10, 20, 30, round(50 + 100 * (1 - 50 / 255)))).all()


def test_tiles_are_apart_by_the_margin(draw: Draw) -> None:
    result = draw(RED, BLUE, action="overlay", image={"step": "logo"}, width=10, tile=True, margin=5)
    blue = result[..., 2] > 100
    assert blue[0, :60].tolist() == ([True] * 10 + [False] * 5) * 4
    assert blue.mean() == pytest.approx((10 * 6) / (15 * 11), abs=0.04)


def with_asset(folder: Path, asset: bytes, **fields: object) -> Pixels:
    """A red image of 400 × 300 pixels with the asset over it."""
    Image.new("RGB", (400, 300), (220, 0, 0)).save(folder / "in.png")
    (folder / "asset").write_bytes(asset)
    limits = TransformLimits(max_source_pixels=10**6, max_output_pixels=10**6, max_output_bytes=10**7)
    steps = [{"id": "a", "action": "overlay", "image": {"asset": "logo"}, "format": "png", **fields}]
    request = {"request_id": "0" * 16, "pipeline": steps, "limits": limits, "assets": [{"name": "logo"}]}
    with (
        (folder / "in.png").open("rb") as source,
        (folder / "asset").open("rb") as logo,
        (folder / "out.png").open("w+b") as out,
    ):
        Transform(TransformRequest.model_validate(request), source.fileno(), {"logo": logo.fileno()}).run(out.fileno())
    return np.asarray(Image.open(folder / "out.png").convert("RGB"))


def test_an_asset_is_drawn(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (0, 0, 220, 128)).save(tmp_path / "logo.png")
    result = with_asset(tmp_path, (tmp_path / "logo.png").read_bytes(), x=10, y=20)
    assert result[22, 12].tolist() == [110, 0, 110]
    assert result[18, 12].tolist() == [220, 0, 0]


CIRCLE = b'<circle cx="4" cy="4" r="4" fill="#0000dc"/>'
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8">' + CIRCLE + b"</svg>"


@pytest.mark.parametrize("rotation", [0, 45])
def test_a_vector_image_is_sharp_at_every_size(tmp_path: Path, rotation: int) -> None:
    """A circle of 240 pixels has an edge of 754 pixels; enlarged from 8 pixels, it would be 30 pixels wide."""
    result = with_asset(tmp_path, SVG, width=240, overflow=True, rotation=rotation).astype(int)
    inside, outside = (np.abs(result - color).max(axis=2) < 8 for color in ((0, 0, 220), (220, 0, 0)))
    assert inside.sum() == pytest.approx(np.pi * 120**2, rel=0.03)
    assert (~inside & ~outside).sum() < 2 * 754


def test_a_vector_image_over_a_wide_gamut_has_its_own_color(tmp_path: Path) -> None:
    srgb = with_asset(tmp_path, SVG, width=100)[150, 200]
    wide = with_asset(tmp_path, SVG, width=100, color_space="p3")[150, 200]
    assert srgb.tolist() == [0, 0, 220]
    assert wide.tolist() != [0, 0, 220]  # the same color, in coordinates of Display P3


def test_an_animation_is_drawn_frame_by_frame(run: Run, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), (shade,) * 3) for shade in (60, 140, 220)]
    frames[0].save(tmp_path / "in.webp", save_all=True, append_images=frames[1:], duration=50, lossless=True)
    overlay = {"id": "a", "action": "overlay", "image": {"step": "source"}, "width": 8, "blend": "screen"}
    run(tmp_path / "in.webp", {**overlay, "format": "webp", "quality": 100})
    with Image.open(tmp_path / "a.webp") as result:
        for place, shade in enumerate((60, 140, 220)):
            result.seek(place)
            pixels = np.asarray(result.convert("RGB"))
            assert int(pixels[8, 8, 0]) == pytest.approx(255 - (255 - shade) ** 2 / 255, abs=12)
            assert int(pixels[1, 1, 0]) == pytest.approx(shade, abs=4)


@pytest.mark.parametrize(
    "fields",
    [
        {"image": {}},
        {"image": {"step": "source", "asset": "logo"}},
        {"image": "logo"},
        {"width": 0},
        {"blend": "xor"},
        {"opacity": 0},
        {"x": -1},
    ],
)
def test_an_overlay_needs_one_picture_and_valid_values(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        step(**fields)


def test_a_huge_overlay_costs_no_more_than_what_is_visible(run: Run, tmp_path: Path) -> None:
    Image.new("RGB", (300, 300), "white").save(tmp_path / "in.png")
    overlay = {"action": "overlay", "image": {"step": "source"}, "width": 16_384, "overflow": True, "rotation": 30}
    before = os.times().user
    run(tmp_path / "in.png", {"id": "a", **overlay, "format": "png"})
    assert os.times().user - before < 2


def test_rotation_keeps_translucent_colors() -> None:
    picture = Picture(flat_image((200, 100, 50, 10), (40, 40)), Size(40, 40))
    rotated = layer_of(picture, picture.size, rotation=30, opacity=1)
    assert rotated(rotated.width // 2, rotated.height // 2) == [200, 100, 50, 10]
