"""Fixtures: generated sources, and a function that runs a pipeline on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.support.rendering import render, set_up_libvips
from tests.unit.imaging.pictures import Run, four_colors

from pixelflow.imaging.protocol import Rendered, TransformLimits


@pytest.fixture(scope="session", autouse=True)
def libvips(tmp_path_factory: pytest.TempPathFactory) -> None:
    set_up_libvips(tmp_path_factory.mktemp("fonts"))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """``run(source, *steps)`` writes outputs to ``tmp_path``."""

    def transform_source(
        source: Path, *steps: dict[str, Any], source_pixels: int = 50_000_000, output_pixels: int = 50_000_000
    ) -> Rendered:
        limits = TransformLimits(
            max_source_pixels=source_pixels, max_output_pixels=output_pixels, max_output_bytes=10**9
        )
        return render(source, steps, limits, tmp_path)

    return transform_source


@pytest.fixture
def quadrants() -> Image.Image:
    """120 × 80 pixels in four colors, so that every orientation is distinguishable."""
    return four_colors(120, 80)
