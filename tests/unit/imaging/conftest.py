"""Fixtures: generated sources, and a function that runs a pipeline on them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import pyvips
from PIL import Image
from tests.unit.imaging.pictures import Run, four_colors

from pixelflow.contracts.pipeline import output_name
from pixelflow.dataplane.imaging import Transform, cache_fonts, prepare
from pixelflow.dataplane.protocol import Rendered, TransformLimits, TransformRequest


@pytest.fixture(scope="session", autouse=True)
def libvips(tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = tmp_path_factory.mktemp("fonts")
    prepare(cache)
    cache_fonts(cache)
    for name in ("Jpeg", "Png", "Webp", "Heif"):  # by which tests look at outputs
        pyvips.operation_block_set(f"VipsForeignLoad{name}File", False)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """``run(source, *steps)`` writes outputs to ``tmp_path``."""

    def transform_source(
        source: Path, *steps: dict[str, Any], source_pixels: int = 50_000_000, output_pixels: int = 50_000_000
    ) -> Rendered:
        limits = TransformLimits(
            max_source_pixels=source_pixels, max_output_pixels=output_pixels, max_output_bytes=10**9
        )
        raw = {"request_id": "0" * 16, "pipeline": list(steps), "limits": limits}
        descriptor = os.open(source, os.O_RDONLY)
        try:
            with tempfile.TemporaryFile() as outputs:
                rendered = Transform(TransformRequest.model_validate(raw), descriptor).run(outputs.fileno())
                for each in rendered.outputs:
                    content = os.pread(outputs.fileno(), each.bytes, each.offset)
                    (tmp_path / output_name(each.step_id, each.format)).write_bytes(content)
                return rendered
        finally:
            os.close(descriptor)

    return transform_source


@pytest.fixture
def quadrants() -> Image.Image:
    """120 × 80 pixels in four colors, so that every orientation is distinguishable."""
    return four_colors(120, 80)
