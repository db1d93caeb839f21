"""Borders are found exactly, whatever their color."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.unit.imaging.pictures import Run

from pixelflow.errors import OutputTooLargeError

Array = np.ndarray[Any, np.dtype[np.uint8]]


def trimmed(run: Run, source: Path, **fields: object) -> Array:
    run(source, {"id": "trimmed", "action": "trim", "format": "png", **fields})
    with Image.open(source.with_name("trimmed.png")) as image:
        return np.asarray(image)


def bordered(color: tuple[int, ...]) -> Array:
    """Noise of 30 × 20 at (12, 7) on a canvas of 60 × 40 of one color."""
    pixels = np.full((40, 60, len(color)), color, "u1")
    pixels[7:27, 12:42, :3] = np.random.default_rng(2).integers(60, 190, (20, 30, 3))
    pixels[7:27, 12:42, 3:] = 255
    return pixels


@pytest.mark.parametrize("color", [(255, 255, 255), (0, 0, 0), (200, 10, 30), (0, 0, 0, 0), (255, 255, 255, 0)])
@pytest.mark.parametrize("padding", [0, 3, "10%", 16_384])
def test_the_border_is_removed_exactly(run: Run, tmp_path: Path, color: tuple[int, ...], padding: int | str) -> None:
    Image.fromarray(bordered(color)).save(tmp_path / "source.png")
    kept = {"10%": 4, 16_384: 60}.get(padding, padding)
    assert isinstance(kept, int)
    expected = bordered(color)[max(0, 7 - kept) : 27 + kept, max(0, 12 - kept) : 42 + kept]
    result = trimmed(run, tmp_path / "source.png", padding=padding)
    assert result.shape[:2] == expected.shape[:2]
    visible = expected[..., 3] > 0 if len(color) == 4 else np.ones(expected.shape[:2], bool)
    assert np.array_equal(result[visible], expected[visible])


def test_a_line_of_one_pixel_is_content(run: Run, tmp_path: Path) -> None:
    pixels = np.full((40, 60, 3), 255, "u1")
    pixels[10, 5:50] = 0
    Image.fromarray(pixels).save(tmp_path / "source.png")
    assert trimmed(run, tmp_path / "source.png").shape == (1, 45, 3)


def test_the_color_of_most_corners_counts(run: Run, tmp_path: Path) -> None:
    pixels = bordered((255, 255, 255))
    pixels[0, 0] = 0
    Image.fromarray(pixels).save(tmp_path / "source.png")
    assert trimmed(run, tmp_path / "source.png").shape == (27, 42, 3), "the corner itself is content"


def test_the_noise_of_a_jpeg_belongs_to_the_border(run: Run, tmp_path: Path) -> None:
    pixels = np.full((64, 96, 3), 250, "u1")
    pixels[16:48, 32:64] = [20, 40, 160]
    Image.fromarray(pixels).save(tmp_path / "source.jpg", quality=70, subsampling=0)
    assert trimmed(run, tmp_path / "source.jpg").shape == (32, 32, 3)


@pytest.mark.parametrize(("threshold", "shape"), [(0, (40, 60, 3)), (4, (40, 60, 3)), (5, (20, 30, 3))])
def test_the_threshold_is_the_largest_difference(
    run: Run, tmp_path: Path, threshold: int, shape: tuple[int, ...]
) -> None:
    pixels = bordered((250, 250, 250))
    pixels[0, 30] = pixels[-1, 30] = pixels[20, 0] = pixels[20, -1] = [250, 245, 250]
    Image.fromarray(pixels).save(tmp_path / "source.png")
    assert trimmed(run, tmp_path / "source.png", threshold=threshold).shape == shape


def test_a_border_of_another_color_than_asked_for_stays(run: Run, tmp_path: Path) -> None:
    Image.fromarray(bordered((255, 255, 255))).save(tmp_path / "source.png")
    assert trimmed(run, tmp_path / "source.png", color="#ff0000").shape == (40, 60, 3)
    assert trimmed(run, tmp_path / "source.png", color="#fffffa").shape == (20, 30, 3)


@pytest.mark.parametrize("color", [(255, 255, 255), (3, 4, 5, 0)])
def test_a_picture_of_one_color_stays_as_it_is(run: Run, tmp_path: Path, color: tuple[int, ...]) -> None:
    Image.fromarray(np.full((40, 60, len(color)), color, "u1")).save(tmp_path / "source.png")
    assert trimmed(run, tmp_path / "source.png").shape == (40, 60, len(color))


def test_all_frames_are_trimmed_as_the_first(run: Run, tmp_path: Path) -> None:
    first, second = Image.fromarray(bordered((255, 255, 255))), Image.new("RGB", (60, 40), "white")
    first.save(tmp_path / "source.webp", save_all=True, append_images=[second], lossless=True)
    run(tmp_path / "source.webp", {"id": "trimmed", "action": "trim"})
    with Image.open(tmp_path / "trimmed.webp") as image:
        assert image.size == (30, 20)
        image.seek(1)
        assert image.size == (30, 20)


def test_a_result_that_a_later_step_would_make_too_large_is_refused(run: Run, tmp_path: Path) -> None:
    """The plan expects 1000 × 667 pixels of the whole picture; the content, a line, would become 1000 × 20 000."""
    pixels = np.full((40, 60, 3), 255, "u1")
    pixels[5:25, 30] = 0
    Image.fromarray(pixels).save(tmp_path / "source.png")
    large = {"id": "large", "from": "trimmed", "action": "resize", "width": 1000, "enlarge": True}
    with pytest.raises(OutputTooLargeError) as caught:
        run(tmp_path / "source.png", {"id": "trimmed", "action": "trim"}, large, output_pixels=10**6)
    assert caught.value.step_id == "large"
