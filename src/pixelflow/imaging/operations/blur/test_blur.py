"""Blur: the response to one bright pixel is a Gaussian, at every strength."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from tests.unit.imaging.pictures import Draw, Run

from pixelflow.imaging.operations.blur.model import Blur


@pytest.mark.parametrize("sigma", [0.7, 3, 8, 8.5, 20, 57.3])
def test_an_edge_becomes_as_wide_as_sigma_says(draw: Draw, sigma: float) -> None:
    """The slope of a blurred edge is the Gaussian, whose deviation is measured here."""
    pixels = np.zeros((40, 800, 3), "u1")
    pixels[:, 400:] = 255
    row = draw(pixels, action="blur", sigma=sigma)[20, :, 0].astype(float)
    slope, place = np.diff(row), np.arange(799) - 399
    assert slope.sum() == 255
    assert (slope * place).sum() / 255 == pytest.approx(0, abs=max(0.2, 0.03 * sigma))
    assert np.sqrt((slope * place**2).sum() / 255) == pytest.approx(sigma, rel=0.03)


def test_a_flat_color_stays_what_it_is(draw: Draw) -> None:
    for color in ((200, 100, 50), (200, 100, 50, 10)):
        for sigma in (1, 30):
            assert (draw(np.full((50, 61, len(color)), color, "u1"), action="blur", sigma=sigma) == color).all()


@pytest.mark.parametrize("sigma", [2, 20])
def test_transparent_pixels_do_not_color_others(draw: Draw, sigma: float) -> None:
    pixels = np.zeros((60, 60, 4), "u1")
    pixels[:, :30] = (200, 100, 50, 255)
    result = draw(pixels, action="blur", sigma=sigma)
    visible = result[result[..., 3] > 40]
    assert np.abs(visible[:, :3].astype(int) - (200, 100, 50)).max() <= 3
    assert result[30, 29:31, 3].mean() == pytest.approx(127.5, abs=2)


def test_a_blur_before_a_resize_is_as_strong_as_one_of_the_whole_picture(run: Run, tmp_path: Path) -> None:
    """The source is decoded smaller then, and the blur is scaled with it."""
    pixels = np.zeros((800, 1600, 3), "u1")
    pixels[:, 800:] = 255
    Image.fromarray(pixels).save(tmp_path / "edge.jpg", quality=95)
    blurred = {"id": "b", "action": "blur", "sigma": 40, "output": False}
    run(tmp_path / "edge.jpg", blurred, {"id": "s", "from": "b", "action": "resize", "width": 200, "format": "png"})
    row = np.asarray(Image.open(tmp_path / "s.png"))[50, :, 0].astype(float)
    slope, place = np.diff(row), np.arange(199) - 99
    assert np.sqrt((slope * place**2).sum() / 255) == pytest.approx(40 / 8, rel=0.1)


def test_a_tall_picture_is_blurred_as_a_stream(run: Run, tmp_path: Path) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (5000, 40, 3)).astype("u1")
    Image.fromarray(noise).save(tmp_path / "tall.png")
    steps: list[dict[str, Any]] = [{"id": f"s{sigma}", "action": "blur", "sigma": sigma} for sigma in (7, 300)]
    for step in steps:
        run(tmp_path / "tall.png", {**step, "format": "png"})
        assert np.asarray(Image.open(tmp_path / f"{step['id']}.png")).std() < 8


@pytest.mark.parametrize("sigma", [0, -1, 1001, "0%", "1", True, float("inf")])
def test_a_sigma_is_pixels_or_a_percentage(sigma: object) -> None:
    with pytest.raises(ValidationError):
        Blur.model_validate({"id": "a", "action": "blur", "sigma": sigma})
