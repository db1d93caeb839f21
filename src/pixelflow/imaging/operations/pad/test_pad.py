"""The picture is in its place, and the space around it has the right pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from tests.unit.imaging.pictures import Run

from pixelflow.imaging.geometry import Size
from pixelflow.imaging.operations.pad.geometry import padded
from pixelflow.imaging.operations.pad.model import Pad

Array = np.ndarray[Any, np.dtype[np.uint8]]


def noise(height: int, width: int, bands: int = 3) -> Array:
    return np.random.default_rng(5).integers(0, 256, (height, width, bands)).astype("u1")


def result(run: Run, folder: Path, pixels: Array, **fields: object) -> Array:
    Image.fromarray(pixels).save(folder / "source.png")
    run(folder / "source.png", {"id": "result", "action": "pad", **fields})
    with Image.open(folder / "result.png") as image:
        return np.array(image)


TABLE = [
    # picture, step, canvas, left, top
    (Size(30, 20), {"padding": 5}, (40, 30), 5, 5),
    (Size(30, 20), {"padding": "10%"}, (34, 24), 2, 2),
    (Size(30, 20), {"padding": {"top": 1, "right": 2, "bottom": 3, "left": 4}}, (36, 24), 4, 1),
    (Size(30, 20), {"padding": {"left": "50%"}}, (40, 20), 10, 0),
    (Size(30, 20), {"padding": 0}, (30, 20), 0, 0),
    (Size(30, 20), {"ratio": "1:1"}, (30, 30), 0, 5),
    (Size(30, 20), {"ratio": "1:1", "gravity": "north"}, (30, 30), 0, 0),
    (Size(30, 20), {"ratio": 3}, (60, 20), 15, 0),
    (Size(30, 20), {"ratio": 3, "gravity": "east"}, (60, 20), 30, 0),
    (Size(30, 20), {"ratio": 1.5}, (30, 20), 0, 0),
    (Size(1000, 333), {"ratio": "3:1"}, (1000, 333), 0, 0),
    (Size(30, 20), {"width": 40}, (40, 20), 5, 0),
    (Size(30, 20), {"width": 40, "height": 10, "gravity": "southwest"}, (40, 20), 0, 0),
    (Size(30, 20), {"width": 41, "height": 31}, (41, 31), 5, 5),
]


@pytest.mark.parametrize(("picture", "fields", "canvas", "left", "top"), TABLE)
def test_sizes_and_positions(
    picture: Size, fields: dict[str, Any], canvas: tuple[int, int], left: int, top: int
) -> None:
    assert padded(picture, Pad.model_validate({"id": "a", "action": "pad", **fields})) == (canvas, left, top)


MODES = {"copy": "edge", "mirror": "symmetric"}
PADDING = {"top": 4, "right": 3, "bottom": 2, "left": 11}
AROUND = ((4, 2), (11, 3), (0, 0))


@pytest.mark.parametrize("extend", MODES)
def test_the_space_is_made_of_the_picture(run: Run, tmp_path: Path, extend: str) -> None:
    pixels = noise(20, 30, 4)
    made = result(run, tmp_path, pixels, padding=PADDING, extend=extend)
    assert np.array_equal(made, np.pad(pixels, AROUND, mode=MODES[extend]))  # type: ignore[call-overload]


@pytest.mark.parametrize("background", ["#102030", "#10203040", "#00000000"])
@pytest.mark.parametrize("bands", [3, 4])
def test_the_space_has_the_color_of_the_background(run: Run, tmp_path: Path, background: str, bands: int) -> None:
    pixels, color = noise(20, 30, bands), bytes.fromhex(background[1:].ljust(8, "f"))
    made = result(run, tmp_path, pixels, padding=PADDING, background=background)
    assert made.shape[2] == (3 if bands == 3 and len(background) == 7 else 4)
    assert np.array_equal(made[4:24, 11:41, :bands], pixels)
    made[4:24, 11:41] = list(color[: made.shape[2]])
    assert (made == list(color[: made.shape[2]])).all()


def test_blurred_space_has_the_tones_of_the_picture_and_no_detail(run: Run, tmp_path: Path) -> None:
    pixels = noise(40, 60) // 4 + np.array([150, 60, 20], "u1")
    made = result(run, tmp_path, pixels, ratio="1:1", extend="blur").astype(int)
    assert np.array_equal(made[10:50], pixels)
    space = np.concatenate([made[:10], made[50:]])
    assert np.abs(space.mean(axis=(0, 1)) - pixels.mean(axis=(0, 1))).max() < 4
    assert space.std(axis=(0, 1)).max() < pixels.std(axis=(0, 1)).min() / 2


def test_the_space_is_right_if_the_source_is_reduced_on_decoding(run: Run, tmp_path: Path) -> None:
    Image.new("RGB", (1600, 1203), (200, 10, 10)).save(tmp_path / "source.jpg", quality=95)
    pad = {"id": "padded", "action": "pad", "padding": {"left": 403, "bottom": 97}, "output": False}
    run(tmp_path / "source.jpg", pad, {"id": "small", "from": "padded", "action": "resize", "width": 200})
    with Image.open(tmp_path / "small.jpg") as image:
        assert image.size == (200, 130)
        red = np.asarray(image.convert("RGB"))[..., 1].astype(float)
    assert (255 - red[60]).sum() / 245 == pytest.approx(200 - 403 / 2003 * 200, abs=0.5)
    assert (255 - red[:, 150]).sum() / 245 == pytest.approx(130 - 97 / 1300 * 130, abs=0.5)


@pytest.mark.parametrize(
    ("fields", "location"),
    [
        ({}, ()),
        ({"gravity": "north"}, ()),
        ({"padding": 1, "ratio": 1}, ("ratio",)),
        ({"ratio": 1, "height": 1}, ("height",)),
        ({"padding": -1}, ("padding",)),
        ({"padding": {"top": -1}}, ("padding",)),
        ({"padding": {"north": 1}}, ("padding",)),
    ],
)
def test_wrong_fields_are_rejected(fields: dict[str, Any], location: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        Pad.model_validate({"id": "a", "action": "pad", **fields})
    assert caught.value.errors()[0]["loc"] == location
