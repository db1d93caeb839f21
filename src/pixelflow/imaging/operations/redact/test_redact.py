"""Redact: what was in a region can't be found in the result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import pyvips
from pydantic import ValidationError
from tests.unit.imaging.pictures import Draw, Pixels

from pixelflow.imaging.context import Context
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.operations.redact.geometry import PixelBox, box_of, cell_of
from pixelflow.imaging.operations.redact.model import Method, Redact, Region
from pixelflow.imaging.operations.redact.pixels import apply
from pixelflow.imaging.picture import Picture

NOISE = np.random.default_rng(7).integers(0, 256, (120, 160, 3)).astype("u1")
REGION = {"x": 30, "y": 20, "width": 64, "height": 48}
INSIDE = (slice(20, 68), slice(30, 94))


def step(*regions: dict[str, Any], **fields: object) -> Redact:
    return Redact.model_validate({"id": "a", "action": "redact", "regions": regions, **fields})


BOXES: list[tuple[dict[str, Any], tuple[int, int, int, int] | None]] = [
    ({"x": 3, "y": 4, "width": 5, "height": 6}, (3, 4, 5, 6)),
    ({"x": "10%", "y": "50%", "width": "25%", "height": "50%"}, (10, 30, 25, 30)),
    ({"x": "0.5%", "y": "1%", "width": "1%", "height": "1%"}, (0, 0, 2, 2)),
    ({"x": 90, "y": 50, "width": 500, "height": "100%"}, (90, 50, 10, 10)),
    ({"x": 100, "y": 0, "width": 5, "height": 5}, None),
    ({"x": "100%", "y": 0, "width": 5, "height": 5}, None),
]


@pytest.mark.parametrize(("region", "expected"), BOXES)
def test_a_region_covers_each_pixel_that_it_touches(
    region: dict[str, Any], expected: tuple[int, int, int, int] | None
) -> None:
    assert box_of(Region.model_validate(region), Size(100, 60)) == expected


@pytest.mark.parametrize(
    ("width", "height", "cell"),
    [(1, 1, (1, 1)), (15, 31, (15, 31)), (32, 16, (16, 16)), (400, 30, (100, 30)), (4000, 65, (1000, 17))],
)
def test_a_region_has_few_cells_and_no_small_ones(width: int, height: int, cell: tuple[int, int]) -> None:
    assert cell_of(PixelBox(0, 0, width, height)) == cell


@pytest.mark.parametrize("method", Method)
def test_nothing_outside_the_regions_changes(draw: Draw, method: Method) -> None:
    result = draw(NOISE, action="redact", method=method, regions=[REGION])
    changed = (result != NOISE).any(axis=2)
    assert changed[INSIDE].mean() > 0.99
    changed[INSIDE] = False
    assert not changed.any()


def test_a_solid_region_has_its_color(draw: Draw) -> None:
    result = draw(NOISE, action="redact", regions=[REGION], fill="#102030")
    assert (result[INSIDE] == (16, 32, 48)).all()


def different(pixels: Pixels) -> int:
    return len(np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0))


def test_cells_leave_at_most_sixteen_rounded_colors(draw: Draw) -> None:
    """The information that remains is at most 16 colors of 12 bits: 24 bytes of 9216."""
    ramp = np.dstack([np.add.outer(np.arange(120), np.arange(160)) % 256] * 3).astype("u1")
    for pixels in (NOISE, ramp):
        result = draw(pixels, action="redact", method="pixels", regions=[REGION])[INSIDE]
        assert different(result) <= 16
        assert (result % 17 == 0).all()
        cells = result.reshape(3, 16, 4, 16, 3)
        assert (cells == cells[:, :1, :, :1]).all()
        means = pixels[INSIDE].reshape(3, 16, 4, 16, 3).mean(axis=(1, 3))
        assert np.abs(cells[:, 0, :, 0].astype(float) - means).max() <= 9


def test_a_blur_depends_on_nothing_but_the_cells(draw: Draw) -> None:
    """Pictures with the same rounded means give the same result, whatever their details are."""
    squares = np.random.default_rng(1).integers(3, 12, (3, 4, 3)) * 17
    smooth = NOISE.copy()
    smooth[INSIDE] = squares.repeat(16, axis=0).repeat(16, axis=1)
    letters = np.random.default_rng(2).integers(0, 2, (48, 32, 1)) * 60 - 30
    detailed = smooth.astype(int)
    detailed[INSIDE] += np.stack([letters, -letters], axis=2).reshape(48, 64, 1)
    for method in ("pixels", "blur"):
        one, other = (
            draw(pixels.astype("u1"), action="redact", method=method, regions=[REGION])[INSIDE]
            for pixels in (smooth, detailed)
        )
        assert (one == other).all()


@pytest.mark.parametrize("method", ["pixels", "blur"])
def test_what_remains_is_not_correlated_with_the_details(draw: Draw, method: str) -> None:
    result = draw(NOISE, action="redact", method=method, regions=[REGION])[INSIDE].astype(float)
    original = NOISE[INSIDE].astype(float)
    assert result.std() < 12  # of 74 in the noise
    assert abs(np.corrcoef(result.ravel(), original.ravel())[0, 1]) < 0.15


@pytest.mark.parametrize("method", Method)
def test_transparency_shows_no_shape_either(draw: Draw, method: Method) -> None:
    """The shape of what is cut out is in the alpha channel, and its hidden colors may be anything."""
    alpha = np.random.default_rng(4).integers(0, 2, (120, 160, 1)) * 255
    pixels = np.concatenate([NOISE, alpha.astype("u1")], axis=2)
    result = draw(pixels, action="redact", method=method, regions=[REGION])[INSIDE]
    assert result[..., 3].std() < 12
    assert (
        abs(np.corrcoef(result[..., 3].ravel() + np.arange(result[..., 3].size) * 1e-9, alpha[INSIDE].ravel())[0, 1])
        < 0.15
    )


def test_overlapping_regions_are_all_covered(draw: Draw) -> None:
    regions = [{"x": x, "y": 10, "width": 40, "height": 40} for x in range(0, 100, 10)]
    result = draw(NOISE, action="redact", regions=regions)
    assert (result[10:50, :130] == 0).all()
    assert (result[:, 130:] == NOISE[:, 130:]).all()


def test_metadata_is_removed() -> None:
    image = pyvips.Image.new_from_array(NOISE).copy(interpretation="srgb")
    for name in ("exif-data", "xmp-data", "gainmap-data"):
        image.set_type(pyvips.GValue.blob_type, name, b"a thumbnail")
    image.set_type(pyvips.GValue.gstr_type, "exif-ifd1-Compression", "6")
    plain = set(pyvips.Image.black(1, 1).get_fields())
    result = apply(Picture(image, Size(160, 120)), step(REGION), Context(10**6)).image
    assert {name for name in result.get_fields() if name not in plain} == set()


def test_a_hundred_regions_are_quick_enough(draw: Draw) -> None:
    regions = [{"x": 8 * n, "y": 6 * n, "width": 300, "height": 300} for n in range(100)]
    pixels = np.zeros((900, 1200, 3), "u1")
    assert draw(pixels, action="redact", method="blur", regions=regions).shape == pixels.shape


@pytest.mark.parametrize(
    "fields",
    [
        {"regions": []},
        {"regions": [REGION] * 101},
        {"regions": [{**REGION, "width": 0}]},
        {"regions": [{**REGION, "x": -1}]},
        {"regions": [{"x": 1, "y": 1, "width": 2}]},
        {"regions": [REGION], "method": "swirl"},
        {"regions": [REGION], "fill": "#00000080"},
    ],
)
def test_regions_and_methods_are_checked(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Redact.model_validate({"id": "a", "action": "redact", **fields})
