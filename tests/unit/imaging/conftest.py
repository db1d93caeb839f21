"""Fixtures: generated sources, and a function that runs a pipeline on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.support.rendering import render, set_up_libvips
from tests.unit.imaging.pictures import Draw, Flat, Pixels, Run, four_colors

from pixelflow.imaging.protocol import Rendered, TransformLimits


@pytest.fixture(scope="session", autouse=True)
def libvips(tmp_path_factory: pytest.TempPathFactory) -> None:
    set_up_libvips(tmp_path_factory.mktemp("fonts"))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """``run(source, *steps)`` writes outputs to ``tmp_path``; other arguments are options of the source."""

    def transform_source(
        source: Path,
        *steps: dict[str, Any],
        source_pixels: int = 50_000_000,
        output_pixels: int = 50_000_000,
        **options: object,
    ) -> Rendered:
        limits = TransformLimits(
            max_source_pixels=source_pixels, max_output_pixels=output_pixels, max_output_bytes=10**9
        )
        return render(source, steps, limits, tmp_path, **options)

    return transform_source


@pytest.fixture
def draw(run: Run, tmp_path: Path) -> Draw:
    """``draw(pixels, *earlier, **step)`` applies earlier steps and then one to pixels, and returns its result."""

    def apply(pixels: Pixels, *earlier: dict[str, Any], **step: object) -> Pixels:
        Image.fromarray(pixels).save(tmp_path / "drawn.png")
        before = [{"output": False, **each} for each in earlier]
        run(tmp_path / "drawn.png", *before, {"id": "drawn-result", "format": "png", **step})
        with Image.open(tmp_path / "drawn-result.png") as image:
            return np.asarray(image.convert("RGBA" if "A" in image.getbands() else "RGB"))

    return apply


@pytest.fixture
def flat(draw: Draw) -> Flat:
    """``flat(color, **step)`` applies a step to an image of one color, and returns the color of the result."""

    def apply(color: tuple[int, ...], **step: object) -> tuple[int, ...]:
        result = draw(np.full((6, 7, len(color)), color, "u1"), **step)
        assert (result == result[0, 0]).all(), "the result has several colors"
        return tuple(int(channel) for channel in result[0, 0])

    return apply


@pytest.fixture
def quadrants() -> Image.Image:
    """120 × 80 pixels in four colors, so that every orientation is distinguishable."""
    return four_colors(120, 80)
