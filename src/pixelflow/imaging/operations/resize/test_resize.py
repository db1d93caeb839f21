"""Sizes of a resize: a table for every fit, and properties that hold for all sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from tests.unit.imaging.pictures import Run

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
    (SMALL, {"width": 300, "height": 300, "fit": "cover"}, (90, 60), (60, 60)),
    (SMALL, {"width": 300, "height": 40, "fit": "cover"}, (90, 60), (90, 12)),
    (SMALL, {"width": 30, "height": 100, "fit": "cover"}, (90, 60), (18, 60)),
    (Size(300, 200), {"width": 400, "height": 400, "fit": "cover"}, (300, 200), (200, 200)),
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
    (Size(3, 10_000), {"width": 100, "height": 100, "fit": "cover"}, (3, 10_000), (3, 3)),
    (Size(3, 10_000), {"width": 1000, "height": 1, "fit": "cover"}, (3, 10_000), (3, 1)),
    # `dpr` multiplies sides and bounds, and does not enlarge by itself.
    (LANDSCAPE, {"width": 300, "dpr": 2}, (600, 400), (600, 400)),
    (LANDSCAPE, {"width": 333, "dpr": 1.5}, (500, 333), (500, 333)),
    (LANDSCAPE, {"width": 100, "height": 100, "fit": "cover", "dpr": 3}, (450, 300), (300, 300)),
    (LANDSCAPE, {"width": 1, "dpr": 0.1}, (1, 1), (1, 1)),
    (SMALL, {"width": 60, "dpr": 2}, (90, 60), (90, 60)),
    (LANDSCAPE, {"max_width": 150, "dpr": 2}, (300, 200), (300, 200)),
    # Bounds keep the aspect ratio; the largest sides win over the least.
    (LANDSCAPE, {"max_width": 600}, (600, 400), (600, 400)),
    (LANDSCAPE, {"max_width": 600, "max_height": 200}, (300, 200), (300, 200)),
    (LANDSCAPE, {"width": 600, "max_height": 200}, (300, 200), (300, 200)),
    (LANDSCAPE, {"width": 300, "min_height": 400}, (600, 400), (600, 400)),
    (LANDSCAPE, {"width": 300, "min_height": 400, "max_width": 450}, (450, 300), (450, 300)),
    (LANDSCAPE, {"width": 300, "height": 300, "min_height": 300}, (450, 300), (450, 300)),
    (SMALL, {"min_width": 300}, (90, 60), (90, 60)),
    (SMALL, {"min_width": 300, "enlarge": True}, (300, 200), (300, 200)),
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
    scaled, canvas = fit(picture, step(width=width, height=height, fit="cover", enlarge=enlarge))
    if enlarge or (picture.width >= width and picture.height >= height):
        assert canvas == (width, height)
    else:
        assert canvas.width == picture.width or canvas.height == picture.height
        off = min(
            abs(canvas.height - canvas.width * height / width), abs(canvas.width - canvas.height * width / height)
        )
        assert off <= 0.5 + 1e-6 or 1 in canvas
    assert scaled.width >= canvas.width
    assert scaled.height >= canvas.height


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


MODEL_ERRORS = [
    ({}, (), "needs `width`, `height` or both, or a bound such as `max_width`"),
    ({"width": 10, "height": 10, "fit": "cover", "max_width": 5}, ("max_width",), "needs the fit"),
    ({"min_width": 20, "max_width": 10}, ("min_width",), "must be at most `max_width`"),
    ({"width": 9000, "dpr": 2}, ("width",), "must be at most 16384, multiplied by `dpr`"),
    ({"width": 8192, "enlarge": True, "dpr": 2, "format": "webp"}, ("width",), "must be at most 16383"),
    ({"width": 10, "focus": {"x": 0, "y": 0}, "gravity": "north"}, ("focus",), "can't be combined with `gravity`"),
    ({"width": 10, "focus": {"x": 1.1, "y": 0}}, ("focus", "x"), "less than or equal to 1"),
]


@pytest.mark.parametrize(("fields", "location", "message"), MODEL_ERRORS)
def test_contradictory_fields_are_rejected(fields: dict[str, Any], location: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        step(**fields)
    (error,) = caught.value.errors()
    assert error["loc"] == location
    assert message in error["msg"]


# ── Pixels ───────────────────────────────────────────────────────────────────────────────────────


def columns(path: Path, width: int, height: int) -> Path:
    """A picture whose red is the column and whose green is the row."""
    y, x = np.mgrid[0:height, 0:width]
    Image.fromarray(np.dstack([x, y, 0 * x]).astype("u1")).save(path)
    return path


@pytest.mark.parametrize(
    ("fields", "left", "top"),
    [
        ({"focus": {"x": 0.5, "y": 0.5}}, 50, 0),
        ({"focus": {"x": 0.3, "y": 0.9}}, 10, 0),
        ({"focus": {"x": 0, "y": 0}}, 0, 0),
        ({"focus": {"x": 1, "y": 0}}, 100, 0),
        ({"gravity": "east"}, 100, 0),
    ],
)
def test_the_focal_point_is_kept_near_the_center(
    run: Run, tmp_path: Path, fields: dict[str, Any], left: int, top: int
) -> None:
    source = columns(tmp_path / "source.png", 200, 100)
    run(source, {"id": "a", "action": "resize", "width": 100, "height": 100, "fit": "cover", **fields})
    with Image.open(tmp_path / "a.png") as image:
        assert image.getpixel((0, 0)) == (left, top, 0)
        assert image.size == (100, 100)


def test_nearest_keeps_the_colors_of_pixel_art(run: Run, tmp_path: Path) -> None:
    pixels = np.random.default_rng(7).integers(0, 256, (4, 6, 3)).astype("u1")
    Image.fromarray(pixels).save(tmp_path / "source.png")
    steps = {"action": "resize", "width": 18, "enlarge": True}
    run(tmp_path / "source.png", {"id": "a", **steps, "kernel": "nearest"}, {"id": "b", **steps})
    with Image.open(tmp_path / "a.png") as nearest, Image.open(tmp_path / "b.png") as smooth:
        assert np.array_equal(np.asarray(nearest), pixels.repeat(3, axis=0).repeat(3, axis=1))
        assert not np.array_equal(np.asarray(smooth), np.asarray(nearest))


def test_nearest_picks_pixels_when_it_reduces(run: Run, tmp_path: Path) -> None:
    pixels = np.random.default_rng(7).choice([0, 255], (64, 64, 3)).astype("u1")
    Image.fromarray(pixels).save(tmp_path / "source.png")
    run(tmp_path / "source.png", {"id": "a", "action": "resize", "width": 8, "kernel": "nearest"})
    with Image.open(tmp_path / "a.png") as image:
        assert set(np.unique(np.asarray(image))) == {0, 255}


@pytest.mark.parametrize("gravity", ["attention", "entropy"])
def test_all_frames_of_an_animation_are_cropped_alike(run: Run, tmp_path: Path, gravity: str) -> None:
    """The eye-catcher of the first frame is on the left, that of the second on the right."""
    frames = [Image.new("RGB", (200, 100), "gray") for _ in range(2)]
    for frame, left in zip(frames, (10, 150), strict=True):
        frame.paste(Image.effect_noise((40, 40), 90).convert("RGB"), (left, 30))
        frame.paste((255, 0, 0), (left + 10, 40, left + 30, 60))
    frames[0].save(tmp_path / "source.webp", save_all=True, append_images=frames[1:], lossless=True)
    fields = {"width": 100, "height": 100, "fit": "cover", "gravity": gravity}
    run(tmp_path / "source.webp", {"id": "a", "action": "resize", **fields})
    with Image.open(tmp_path / "a.webp") as image:
        image.seek(0)
        assert np.asarray(image.convert("RGB"))[..., 0].max() > 240
        image.seek(1)
        assert np.asarray(image.convert("RGB"))[..., 0].max() < 160
