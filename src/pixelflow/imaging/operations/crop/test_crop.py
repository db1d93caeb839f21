"""Parts of a picture: their position, by exact pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image
from pydantic import ValidationError
from tests.unit.imaging.pictures import Run

from pixelflow.errors import StepFailedError, UndecodableError
from pixelflow.imaging.colour.convert import DISPLAY_P3
from pixelflow.imaging.operations.crop.model import Crop

WIDTH, HEIGHT = 200, 100
Array = np.ndarray[Any, np.dtype[np.uint8]]


def coordinates() -> Array:
    """Pixels whose red is the column and whose green is the row."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.dstack([x, y, 0 * x]).astype("u1")


def cropped(run: Run, source: Path, **fields: object) -> Array:
    run(source, {"id": "part", "action": "crop", "format": "png", **fields})
    with Image.open(source.with_name("part.png")) as image:
        return np.asarray(image.convert("RGB"))


PARTS = [
    # step, left, top, width, height
    ({"x": 10, "y": 20, "width": 30, "height": 40}, 10, 20, 30, 40),
    ({"x": "10%", "y": "20%", "width": "50%", "height": "25%"}, 20, 20, 100, 25),
    ({"x": 10}, 10, 0, 190, 100),
    ({"y": "50%"}, 0, 50, 200, 50),
    ({"width": 30, "height": 40}, 85, 30, 30, 40),
    ({"width": 30, "height": 40, "gravity": "southeast"}, 170, 60, 30, 40),
    ({"width": 30}, 85, 0, 30, 100),
    ({"width": 30, "gravity": "west"}, 0, 0, 30, 100),
    ({"height": 10, "focus": {"x": 0.3, "y": 0.7}}, 0, 65, 200, 10),
    ({"ratio": "1:1"}, 50, 0, 100, 100),
    ({"ratio": 1, "gravity": "east"}, 100, 0, 100, 100),
    ({"ratio": "16:9", "focus": {"x": 0, "y": 0}}, 0, 0, 178, 100),
    ({"ratio": 4, "focus": {"x": 0, "y": 0.5}}, 0, 25, 200, 50),
    ({"ratio": "1:1000", "gravity": "west"}, 0, 0, 1, 100),
    # A part that extends beyond the picture is clipped.
    ({"x": 190, "y": 95, "width": 30, "height": 40}, 190, 95, 10, 5),
    ({"x": 199, "y": 99}, 199, 99, 1, 1),
    ({"width": 16_000, "height": 16_000}, 0, 0, 200, 100),
    ({"width": "0.01%", "height": "0.01%", "gravity": "northwest"}, 0, 0, 1, 1),
]


@pytest.mark.parametrize(("fields", "box"), [(fields, box) for fields, *box in PARTS])
def test_the_part_is_cut_out_exactly(run: Run, tmp_path: Path, fields: dict[str, Any], box: list[int]) -> None:
    left, top, width, height = box
    Image.fromarray(coordinates()).save(tmp_path / "source.png")
    part = cropped(run, tmp_path / "source.png", **fields)
    assert np.array_equal(part, coordinates()[top : top + height, left : left + width])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_part_is_upright_for_every_orientation(run: Run, tmp_path: Path, orientation: int) -> None:
    stored, exif = Image.fromarray(coordinates()), Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "source.png", exif=exif)
    part = cropped(run, tmp_path / "source.png", x=10, y=20, width=30, height=40)
    with Image.open(tmp_path / "source.png") as image:
        upright = _upright(np.asarray(image), orientation)
    assert np.array_equal(part, upright[20:60, 10:40])


def _upright(stored: Array, orientation: int) -> Array:
    """After CIPA DC-008, tag 274."""
    turned = stored.transpose(1, 0, 2) if orientation >= 5 else stored
    turned = turned[:, ::-1] if orientation in {2, 3, 6, 7} else turned
    return turned[::-1] if orientation in {3, 4, 7, 8} else turned


@pytest.mark.parametrize(("x", "y"), [(200, 0), (0, 100), ("100%", 0), (5000, 5000)])
def test_a_part_outside_of_the_picture_fails(run: Run, tmp_path: Path, x: int | str, y: int) -> None:
    Image.fromarray(coordinates()).save(tmp_path / "source.png")
    with pytest.raises(StepFailedError, match="the image has 200 × 100 pixels") as caught:
        cropped(run, tmp_path / "source.png", x=x, y=y, width=10, height=10)
    assert caught.value.step_id == "part"


@pytest.mark.parametrize("gravity", ["attention", "entropy"])
def test_a_part_by_content_shows_the_eye_catcher(run: Run, tmp_path: Path, gravity: str) -> None:
    pixels = np.full((HEIGHT, WIDTH, 3), 128, "u1")
    pixels[30:60, 150:180] = np.random.default_rng(1).integers(0, 256, (30, 30, 3))
    pixels[40:50, 160:170] = [255, 0, 0]
    Image.fromarray(pixels).save(tmp_path / "source.png")
    part = cropped(run, tmp_path / "source.png", width=70, height=70, gravity=gravity)
    assert part.shape == (70, 70, 3)
    assert (part == [255, 0, 0]).all(axis=2).sum() == 100


def disc(path: Path, center: tuple[int, int]) -> None:
    y, x = np.mgrid[0:1200, 0:1600]
    level = 255 * np.clip(60.5 - np.hypot(x - center[0], y - center[1]), 0, 1)
    Image.fromarray(np.dstack([level] * 3).astype("u1")).save(path, quality=95)


@pytest.mark.parametrize("name", ["source.jpg", "source.png"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_the_position_is_right_if_the_source_is_reduced_on_decoding(
    run: Run, tmp_path: Path, name: str, orientation: int
) -> None:
    """Eight times smaller, the disc is within half a pixel of where it must be."""
    disc(tmp_path / name, (700, 500))
    if orientation != 1:
        exif = Image.Exif()
        exif[0x0112] = orientation
        with Image.open(tmp_path / name) as image:
            image.rotate(90, expand=True).save(tmp_path / name, exif=exif, quality=95)
    crop = {"id": "part", "action": "crop", "x": 403, "y": 301, "width": 611, "height": 407, "output": False}
    run(tmp_path / name, crop, {"id": "small", "from": "part", "action": "resize", "width": 76, "format": "png"})
    with Image.open(tmp_path / "small.png") as image:
        level = np.asarray(image.convert("L")).astype(float)
    y, x = np.mgrid[0 : level.shape[0], 0 : level.shape[1]]
    scale = 76 / 611
    assert (level * (x + 0.5)).sum() / level.sum() == pytest.approx((700 + 0.5 - 403) * scale, abs=0.5)
    assert (level * (y + 0.5)).sum() / level.sum() == pytest.approx((500 + 0.5 - 301) * scale, abs=0.5)


@pytest.mark.parametrize("seed", range(8))
def test_parts_anywhere_in_a_streamed_result_are_the_same_as_in_a_kept_one(run: Run, tmp_path: Path, seed: int) -> None:
    """The stream of rows is read once, in order."""
    chance = np.random.default_rng(seed)
    Image.fromarray(chance.integers(0, 256, (900, 700, 3)).astype("u1")).save(tmp_path / "source.png")
    height = int(chance.integers(20, 880))
    small = {"id": "small", "action": "resize", "width": 700 * height // 900, "output": False}
    part = {"action": "crop", "y": int(chance.integers(0, height)), "height": int(chance.integers(1, 40))}
    run(tmp_path / "source.png", small, {"id": "streamed", "from": "small", **part})
    run(tmp_path / "source.png", small | {"output": True}, {"id": "kept", "from": "small", **part})
    with Image.open(tmp_path / "streamed.png") as streamed, Image.open(tmp_path / "kept.png") as kept:
        assert np.array_equal(np.asarray(streamed), np.asarray(kept))


def test_damage_below_the_part_is_found(run: Run, tmp_path: Path) -> None:
    Image.effect_noise((400, 400), 90).convert("RGB").save(tmp_path / "source.jpg")
    data = (tmp_path / "source.jpg").read_bytes()
    (tmp_path / "source.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(UndecodableError):
        cropped(run, tmp_path / "source.jpg", y=0, height=20, gravity="center")


def tiled_tiff(path: Path, orientation: int = 1) -> Image.Image:
    """400 × 300 pixels of noise in tiles of 64 × 64, which deflate compresses."""
    picture = Image.effect_noise((400, 300), 90).convert("RGB")
    image = pyvips.Image.new_from_array(np.asarray(picture)).copy(interpretation="srgb")
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    path.write_bytes(image.tiffsave_buffer(tile=True, tile_width=64, tile_height=64, compression="deflate"))
    return picture


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_part_of_a_tiled_tiff_is_cut_out_exactly(run: Run, tmp_path: Path, orientation: int) -> None:
    upright = _upright(np.asarray(tiled_tiff(tmp_path / "source.tif", orientation)), orientation)
    part = cropped(run, tmp_path / "source.tif", x=70, y=35, width=120, height=90)
    assert np.array_equal(part, upright[35:125, 70:190])


def test_only_the_tiles_of_the_part_are_decoded(run: Run, tmp_path: Path) -> None:
    """Others may be damaged: above, below, at the left and at the right."""
    picture = np.asarray(tiled_tiff(tmp_path / "source.tif"))
    with Image.open(tmp_path / "source.tif") as image:
        offsets = image.tag_v2[324]  # type: ignore[attr-defined]  # TileOffsets
    assert len(offsets) == 7 * 5
    content = bytearray((tmp_path / "source.tif").read_bytes())
    for tile, offset in enumerate(offsets):
        if tile not in {16, 17, 23, 24}:  # the third and fourth of seven in the third and fourth row
            content[offset : offset + 40] = bytes(40)
    (tmp_path / "source.tif").write_bytes(content)
    part = cropped(run, tmp_path / "source.tif", x=130, y=130, width=120, height=120)
    assert np.array_equal(part, picture[130:250, 130:250])
    with pytest.raises(UndecodableError):
        cropped(run, tmp_path / "source.tif", x=130, y=130, width=130, height=120)


def test_the_part_of_a_drawing_is_that_of_the_whole_drawing(run: Run, tmp_path: Path) -> None:
    circles = "".join(
        f'<circle cx="{20 * each}" cy="{13 * each}" r="{each + 5}" fill="#2{each:x}6"/>' for each in range(15)
    )
    (tmp_path / "in.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="300" height="200">{circles}</svg>'
    )
    step = {"id": "part", "action": "crop", "x": 61, "y": 47, "width": 100, "height": 80, "format": "png"}
    run(tmp_path / "in.svg", step, {"id": "whole", "action": "convert", "format": "png"})
    shared = np.asarray(Image.open(tmp_path / "part.png"))
    assert np.array_equal(shared, np.asarray(Image.open(tmp_path / "whole.png"))[47:127, 61:161])
    run(tmp_path / "in.svg", step)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "part.png")), shared)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "CMYK"])
def test_a_part_has_the_colors_of_the_whole_picture(run: Run, tmp_path: Path, mode: str) -> None:
    picture = Image.merge("RGB", [Image.effect_noise((200, 150), 60 + each) for each in range(3)]).convert(mode)
    picture.save(tmp_path / "in.tif", icc_profile=DISPLAY_P3.profile if mode in {"RGB", "RGBA"} else None)
    step = {"id": "part", "action": "crop", "x": 50, "y": 30, "width": 60, "height": 40, "format": "png"}
    run(tmp_path / "in.tif", {"id": "whole", "action": "convert", "format": "png"})
    run(tmp_path / "in.tif", step)
    whole = np.asarray(Image.open(tmp_path / "whole.png"))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "part.png")), whole[30:70, 50:110])


MODEL_ERRORS = [
    ({}, (), "needs a size"),
    ({"gravity": "north"}, (), "needs a size"),
    ({"ratio": "1:1", "width": 10}, ("ratio",), "can't be combined with `width`"),
    ({"x": 1, "width": 10, "gravity": "north"}, ("gravity",), "can't be combined with `x`"),
    ({"y": 1, "focus": {"x": 0, "y": 0}}, ("focus",), "can't be combined with `y`"),
    ({"ratio": 0}, ("ratio",), "must be two numbers"),
    ({"ratio": "0:1"}, ("ratio",), "must be two numbers"),
    ({"ratio": "1:1001"}, ("ratio",), "must be two numbers"),
    ({"ratio": "wide"}, ("ratio",), "must be two numbers"),
    ({"width": 0}, ("width",), "must be pixels"),
    ({"width": "0%"}, ("width",), "must be pixels"),
    ({"width": "101%"}, ("width",), "must be pixels"),
    ({"x": -1}, ("x",), "must be pixels"),
    ({"x": 1.5}, ("x",), "must be pixels"),
]


@pytest.mark.parametrize(("fields", "location", "message"), MODEL_ERRORS)
def test_wrong_fields_are_rejected(fields: dict[str, Any], location: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Crop.model_validate({"id": "a", "action": "crop", **fields})
    (error,) = caught.value.errors()
    assert error["loc"] == location
    assert message in error["msg"]
