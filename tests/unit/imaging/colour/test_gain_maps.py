"""Gain maps of Ultra HDR JPEGs: dropped, or scaled, cropped and turned with the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image
from tests.unit.imaging.pictures import Run

STEP = {"id": "o", "action": "resize", "width": 160, "format": "jpeg", "quality": 95}
BRIGHT = 4.0
"""Light of the bright quarter, relative to the white of SDR."""


def ultra_hdr(path: Path, orientation: int = 1) -> Path:
    """320 × 240: light of 0.3, and four times the white of SDR in the northwest. With the name of a camera."""
    light = np.full((240, 320, 3), 0.3, dtype=np.float32)
    light[:120, :160] = BRIGHT
    image = pyvips.Image.new_from_array(light).copy(interpretation="scrgb")
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    image.set_type(pyvips.GValue.gstr_type, "exif-ifd0-Make", "SecretMake (SecretMake, ASCII, 11 components, 11 bytes)")
    image.uhdrsave(str(path), Q=95)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return ultra_hdr(tmp_path / "ultra.jpg")


def hdr(path: Path) -> pyvips.Image:
    """The picture as an HDR display shows it."""
    for loader in ("VipsForeignLoadUhdrFile", "VipsForeignLoadJpegBuffer"):
        pyvips.operation_block_set(loader, False)
    return pyvips.Image.uhdrload(str(path)).uhdr2scRGB().copy_memory()


def light_of(image: pyvips.Image, x: float, y: float) -> float:
    pixel = image(int(x * image.width), int(y * image.height))
    return float(sum(pixel) / 3)


def has_gain_map(path: Path) -> bool:
    return b"urn:iso:std:iso:ts:21496" in path.read_bytes()


def test_drop_is_the_sdr_picture(run: Run, tmp_path: Path, source: Path) -> None:
    run(source, STEP)
    assert not has_gain_map(tmp_path / "o.jpg")
    with Image.open(tmp_path / "o.jpg") as image, Image.open(source) as original:
        for place in ((40, 30), (120, 90)):
            expected = original.convert("RGB").getpixel((place[0] * 2, place[1] * 2))
            assert image.convert("RGB").getpixel(place) == pytest.approx(expected, abs=3)
        assert min(image.convert("RGB").getpixel((40, 30))) > 200  # type: ignore[arg-type]
        assert "mpf" not in {key.lower() for key in map(str, image.info)}


@pytest.mark.parametrize("color_space", ["srgb", "keep", "p3"])
def test_keep_scales_the_gain_map(run: Run, tmp_path: Path, source: Path, color_space: str) -> None:
    run(source, {**STEP, "hdr": "keep", "color_space": color_space})
    found, expected = hdr(tmp_path / "o.jpg"), hdr(source)
    assert (found.width, found.height) == (160, 120)
    assert light_of(expected, 0.25, 0.25) > 2
    if color_space != "p3":
        for place in ((0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)):
            assert light_of(found, *place) == pytest.approx(light_of(expected, *place), rel=0.1)
    else:
        assert light_of(found, 0.25, 0.25) > 2
    with Image.open(tmp_path / "o.jpg") as image:
        assert image.size == (160, 120)


@pytest.mark.parametrize(
    ("steps", "bright"),
    [
        ([{"action": "flip", "direction": "horizontal"}], (0.75, 0.25)),
        ([{"action": "rotate", "angle": 90}], (0.75, 0.25)),
        ([{"action": "crop", "width": "50%", "height": "50%", "x": "25%", "y": "25%"}], (0.25, 0.25)),
        ([{"action": "resize", "width": 100, "height": 100, "fit": "cover"}], (0.25, 0.25)),
        ([{"action": "flip", "direction": "both"}, {"action": "resize", "width": 64}], (0.75, 0.75)),
        ([{"action": "convert"}], (0.25, 0.25)),
    ],
)
def test_keep_follows_the_picture(
    run: Run, tmp_path: Path, source: Path, steps: list[dict[str, Any]], bright: tuple[float, float]
) -> None:
    names = ["source", "0", "1"]
    chain = [{"id": names[place + 1], "from": names[place], **step} for place, step in enumerate(steps)]
    chain[-1] |= {"format": "jpeg", "hdr": "keep", "quality": 95}
    for step in chain[:-1]:
        step["output"] = False
    run(source, *chain)
    found = hdr(tmp_path / f"{len(steps) - 1}.jpg")
    for place in ((0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)):
        assert (light_of(found, *place) > 1.5) == (place == bright), place


def test_keep_turns_upright_and_keeps_no_other_metadata(run: Run, tmp_path: Path) -> None:
    turned = ultra_hdr(tmp_path / "turned.jpg", orientation=6)
    assert b"SecretMake" in turned.read_bytes()
    run(turned, {**STEP, "hdr": "keep"})
    found = hdr(tmp_path / "o.jpg")
    assert found.width < found.height
    assert light_of(found, 0.75, 0.25) > 1.5
    assert light_of(found, 0.25, 0.25) < 1
    assert b"SecretMake" not in (tmp_path / "o.jpg").read_bytes()


@pytest.mark.parametrize(
    "step",
    [
        {"action": "adjust", "brightness": 1.2},
        {"action": "resize", "width": 100, "height": 100, "fit": "contain"},
        {"action": "watermark", "watermark": {"text": "x"}},
    ],
)
def test_steps_that_change_pixels_drop_it(run: Run, tmp_path: Path, source: Path, step: dict[str, Any]) -> None:
    run(source, {"id": "o", "format": "jpeg", "hdr": "keep", **step})
    assert not has_gain_map(tmp_path / "o.jpg")


def test_other_formats_and_plain_jpegs_have_none(run: Run, tmp_path: Path, source: Path) -> None:
    run(source, {**STEP, "format": "webp", "hdr": "keep"})
    Image.new("RGB", (64, 64), (200, 100, 50)).save(tmp_path / "plain.jpg")
    run(tmp_path / "plain.jpg", {**STEP, "hdr": "keep"})
    assert not has_gain_map(tmp_path / "o.jpg")


def test_a_damaged_gain_map_is_dropped(run: Run, tmp_path: Path, source: Path) -> None:
    data = source.read_bytes()
    second = data.index(b"\xff\xd8\xff", 100)
    source.write_bytes(data[: second + 200])
    run(source, {**STEP, "hdr": "keep"})
    with Image.open(tmp_path / "o.jpg") as image:
        assert image.size == (160, 120)


def test_two_outputs_share_the_source(run: Run, tmp_path: Path, source: Path) -> None:
    run(source, {**STEP, "hdr": "keep"}, {**STEP, "id": "small", "width": 80, "hdr": "keep"}, {**STEP, "id": "sdr"})
    assert light_of(hdr(tmp_path / "o.jpg"), 0.25, 0.25) > 2
    assert light_of(hdr(tmp_path / "small.jpg"), 0.25, 0.25) > 2
    assert not has_gain_map(tmp_path / "sdr.jpg")
