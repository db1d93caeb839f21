"""Outputs made from one another: quality as from the source, order of the pipeline, bounded memory."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from bench.quality import Pixels, pixels_of, reference_resize, score
from PIL import Image
from tests.unit.imaging.pictures import Run

from pixelflow.imaging.geometry import Size
from pixelflow.imaging.picture import Picture
from pixelflow.imaging.pyramid import Pyramid

WIDTHS = (150, 320, 640, 960, 1280)
SCORED = (150, 640)
"""One that is made from another output, and one in the middle: to score the largest takes seconds."""
REAL = Path(__file__).parents[3] / "examples" / "photo.jpg"


@cache
def reference(width: int) -> Pixels:
    return reference_resize(REAL, width)


def resize(width: int, **fields: object) -> dict[str, Any]:
    return {"id": f"w{width}", "action": "resize", "width": width, "format": "png", **fields}


@pytest.mark.parametrize("widths", [WIDTHS, WIDTHS[::-1]], ids=["small first", "large first"])
def test_many_widths_are_as_good_as_each_alone(run: Run, tmp_path: Path, widths: tuple[int, ...]) -> None:
    run(REAL, *map(resize, widths))
    for width in SCORED:
        found = score(pixels_of(tmp_path / f"w{width}.png"), reference(width))
        assert found.color_difference < 0.5
        assert found.ssim > 0.998


def test_outputs_are_reported_in_pipeline_order_regardless_of_execution_order(run: Run) -> None:
    done = run(REAL, resize(320), resize(1280), {**resize(100), "from": "w320"}, resize(640))
    assert [output.step_id for output in done.outputs] == ["w320", "w1280", "w100", "w640"]
    assert [(output.width, output.height) for output in done.outputs] == [
        (320, 180),
        (1280, 720),
        (100, 56),
        (640, 360),
    ]


def test_a_cropped_output_is_not_used_as_input(run: Run, tmp_path: Path) -> None:
    run(REAL, resize(1200, height=300, fit="cover", gravity="north"), resize(320))
    found = score(pixels_of(tmp_path / "w320.png"), reference_resize(REAL, 320))
    assert found.color_difference < 0.5


def test_scaling_in_linear_light_uses_the_source_itself(run: Run, tmp_path: Path) -> None:
    run(REAL, resize(320, linear=True))
    alone = pixels_of(tmp_path / "w320.png")
    run(REAL, resize(1280), resize(640), resize(320, linear=True))
    assert np.array_equal(alone, pixels_of(tmp_path / "w320.png"))


def test_transparent_edges_stay_clean(run: Run, tmp_path: Path) -> None:
    picture = Image.new("RGBA", (1200, 800), (0, 255, 0, 0))
    picture.paste((255, 0, 0, 255), (0, 0, 600, 800))
    picture.save(tmp_path / "half", format="PNG")
    run(tmp_path / "half", resize(600), resize(300))
    small = np.asarray(Image.open(tmp_path / "w300.png"))
    assert small[..., 1][small[..., 3] > 16].max() < 16, "no green of the transparent half may bleed into the edge"


def noise(width: int, height: int) -> pyvips.Image:
    plane = pyvips.Image.gaussnoise(width, height, mean=128, sigma=40).cast("uchar")
    return plane.bandjoin([plane, plane]).copy(interpretation="srgb").copy_memory()


def test_kept_versions_have_less_than_one_and_a_half_times_the_pixels_of_the_source() -> None:
    pyramid = Pyramid(noise(800, 600), Size(800, 600))
    for width in range(799, 8, -7):
        pyramid.scaled(Size(width, width * 3 // 4), linear=False)
    kept = [each.image.width * each.image.height for each in pyramid._smaller]
    assert len(kept) > 3
    assert sum(kept) < 1.5 * 800 * 600


def test_a_version_that_is_hardly_larger_is_not_used_as_input() -> None:
    source = Picture(noise(800, 600), Size(800, 600))
    pyramid = Pyramid(source.image, source.size)
    pyramid.scaled(Size(400, 300), linear=False)
    made, alone = pyramid.scaled(Size(320, 240), linear=False), source.scaled(Size(320, 240), linear=False)
    assert (made.image - alone.image).abs().max() == 0


def test_the_same_size_again_is_not_computed_again() -> None:
    pyramid = Pyramid(noise(800, 600), Size(800, 600))
    first, second = (pyramid.scaled(Size(400, 300), linear=False) for _ in range(2))
    assert first.image is second.image
    assert first.size == second.size == Size(400, 300)


def test_a_changed_source_is_not_scaled_from_versions_of_the_unchanged_one(run: Run, tmp_path: Path) -> None:
    gray = {"id": "gray", "action": "grayscale", "output": False}
    run(REAL, resize(320), gray, {**resize(150), "from": "gray"})
    pixels = pixels_of(tmp_path / "w150.png").astype(int)
    assert np.ptp(pixels, axis=2).max() == 0
