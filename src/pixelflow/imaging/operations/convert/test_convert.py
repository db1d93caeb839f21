"""A conversion keeps the pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.unit.imaging.pictures import Run


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_pixels_are_kept(run: Run, tmp_path: Path, mode: str) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (50, 70, len(mode))).astype("u1")
    Image.fromarray(pixels).save(tmp_path / "source.png")
    rendered = run(tmp_path / "source.png", {"id": "a", "action": "convert"})
    assert rendered.outputs[0].format == "png"
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize(("format_", "kind"), [("jpeg", "JPEG"), ("webp", "WEBP")])
def test_the_format_and_the_quality_are_changed(run: Run, tmp_path: Path, format_: str, kind: str) -> None:
    Image.effect_noise((50, 70), 90).convert("RGB").save(tmp_path / "source.png")
    step = {"action": "convert", "format": format_}
    rendered = run(tmp_path / "source.png", {"id": "low", "quality": 10, **step}, {"id": "high", "quality": 95, **step})
    low, high = rendered.outputs
    assert (low.format, low.width, low.height) == (format_, 50, 70)
    assert low.bytes < high.bytes / 2
    with Image.open(next(tmp_path.glob("low.*"))) as image:
        assert image.format == kind
