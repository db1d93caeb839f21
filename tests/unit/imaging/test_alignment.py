"""A reduction moves nothing and loses no line at an edge, for sizes that no power of two divides."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import pyvips
from bench.quality import pixels_of, reference_resize, score
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from tests.unit.imaging.pictures import Run

from pixelflow.imaging.formats.jpeg.blocks import with_whole_blocks
from pixelflow.imaging.sampling import axis

REAL = Path(__file__).parents[3] / "examples" / "photo.jpg"
SAVE: dict[str, dict[str, Any]] = {
    "jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    "jpeg-420": {"format": "JPEG", "quality": 95, "subsampling": 2},
    "progressive": {"format": "JPEG", "quality": 95, "subsampling": 2, "progressive": True},
    "png": {"format": "PNG", "compress_level": 1},
    "webp": {"format": "WEBP", "lossless": True, "method": 0},
}
SIZES = [((1603, 1203), 100), ((1999, 1499), 120), ((1277, 853), 300), ((805, 605), 100), ((1333, 999), 250)]
"""Of a source, and the width it is scaled to."""


def png(width: int, **fields: object) -> dict[str, Any]:
    return {"id": "o", "action": "resize", "width": width, "format": "png", **fields}


def center_of(luma: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return row and column of the center of mass of what is bright."""
    bright = np.where(luma < 12, 0, luma)
    rows, columns = bright.sum(axis=1), bright.sum(axis=0)
    return (
        float(rows @ (np.arange(len(rows)) + 0.5) / rows.sum()),
        float(columns @ (np.arange(len(columns)) + 0.5) / columns.sum()),
    )


def saved(picture: Image.Image, folder: Path, kind: str) -> Path:
    path = folder / "source"
    picture.save(path, **SAVE[kind])
    return path


@given(extent=st.integers(2, 60_000), eighths=st.sampled_from([1, 2, 4, 8]), result=st.integers(1, 3000))
def test_a_result_is_in_place_within_an_eighth_of_a_pixel(extent: int, eighths: int, result: int) -> None:
    covered = extent / eighths
    if covered / result < 1.75 and eighths > 1:  # the plan leaves more
        return
    planned = axis(covered, result)
    made = round(planned.length * planned.scale)
    assert made >= result
    # libvips centers the result's pixels over the input: what the input lacks or has too much is half at each end.
    assert abs(planned.length * planned.scale - made) / 2 <= 0.125


@pytest.mark.parametrize("kind", SAVE)
@pytest.mark.parametrize(("size", "width"), SIZES)
def test_content_stays_where_it_was(run: Run, tmp_path: Path, kind: str, size: tuple[int, int], width: int) -> None:
    """The center of a disc, within an eighth of a pixel of the result; more is lost if pixels are stretched."""
    picture = Image.new("RGB", size)
    center, radius = (size[0] * 0.87, size[1] * 0.83), size[1] * 0.08
    ImageDraw.Draw(picture).ellipse([*(c - radius for c in center), *(c + radius for c in center)], fill="white")
    run(saved(picture, tmp_path, kind), png(width))
    result = pixels_of(tmp_path / "o.png")[..., 1]
    scales = [made / given for made, given in zip(result.shape, picture.size[::-1], strict=True)]
    expected = np.array(center_of(np.asarray(picture, dtype=np.float64)[..., 1])) * scales
    assert center_of(result) == pytest.approx(tuple(expected), abs=0.125)


@pytest.mark.parametrize("kind", SAVE)
@pytest.mark.parametrize(("size", "width"), [*SIZES, ((3211, 2411), 150)])
def test_a_thin_frame_is_kept_on_all_sides(
    run: Run, tmp_path: Path, kind: str, size: tuple[int, int], width: int
) -> None:
    """As dark as by Lanczos in floating point, within 13 of 255; 20 if libvips repeats the edge of a larger result."""
    picture = Image.new("RGB", size, "white")
    thickness = max(3, size[0] // 500)
    ImageDraw.Draw(picture).rectangle((0, 0, size[0] - 1, size[1] - 1), outline="black", width=thickness)
    source = saved(picture, tmp_path, kind)
    run(source, png(width))
    found = pixels_of(tmp_path / "o.png")[..., 1]
    exact = reference_resize(source, width, found.shape[0])[..., 1]
    for edge in (np.s_[0, 5:-5], np.s_[-1, 5:-5], np.s_[5:-5, 0], np.s_[5:-5, -1]):
        assert found[edge].mean() == pytest.approx(exact[edge].mean(), abs=13 if width <= 256 else 20)


@pytest.mark.parametrize("kind", SAVE)
def test_a_photo_of_odd_size_is_as_good_as_one_of_even_size(run: Run, tmp_path: Path, kind: str) -> None:
    """A mean ΔE2000 of 0.5 is the limit of even sizes too (`test_pyramids`); half a pixel of error makes 0.7."""
    with Image.open(REAL) as opened:
        source = saved(opened.convert("RGB").crop((0, 0, 807, 1203)), tmp_path, kind)
    run(source, png(211))
    result = pixels_of(tmp_path / "o.png")
    found = score(result, reference_resize(source, result.shape[1], result.shape[0]))
    assert found.color_difference < 0.5


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 2}, {"restart_marker_blocks": 1}])
def test_a_completed_jpeg_has_the_same_pixels_and_those_of_its_last_blocks(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    path = tmp_path / "odd.jpg"
    pixels = np.random.default_rng(1).integers(0, 255, (43, 101, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **{"subsampling": 0, **options})
    before = pyvips.Image.jpegload(str(path)).numpy()
    with path.open("rb") as file:
        completed = with_whole_blocks(file.fileno())
    assert completed is not None
    path.write_bytes(bytes(completed))
    whole = pyvips.Image.jpegload(str(path), fail_on="error").numpy()
    assert whole.shape == (48, 104, 3)
    # Reduced chroma of the last column and row is interpolated with what follows.
    assert np.array_equal(whole[:42, :100], before[:42, :100])


@pytest.mark.parametrize("size", [(104, 48), (8, 8)])
def test_a_jpeg_of_whole_blocks_is_left_alone(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "even.jpg"
    Image.new("RGB", size).save(path)
    with path.open("rb") as file:
        assert with_whole_blocks(file.fileno()) is None


def test_a_damaged_header_is_left_to_the_decoder(tmp_path: Path) -> None:
    path = tmp_path / "damaged.jpg"
    Image.new("RGB", (101, 43)).save(path)
    good, rng = path.read_bytes(), random.Random(1)  # noqa: S311 - not for secrets
    for _ in range(300):
        damaged = bytearray(good[: rng.randrange(4, len(good))])
        for _ in range(4):
            damaged[rng.randrange(2, len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        with path.open("rb") as file:
            with_whole_blocks(file.fileno())  # never raises, and never ends in a loop
