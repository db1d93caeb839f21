"""Gain maps of Ultra HDR JPEGs: dropped, or scaled, cropped and turned with the picture."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image
from tests.unit.imaging.pictures import Run

from pixelflow.imaging.gain_map import in_heif
from pixelflow.imaging.isobmff import read_meta
from pixelflow.imaging.protocol import Rendered, WarningCode

FILES = Path(__file__).parents[1] / "files"
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


def dropped(rendered: Rendered) -> list[str | None]:
    """The steps whose output lacks the gain map that it was to keep."""
    return [each.step_id for each in rendered.warnings if each.code is WarningCode.GAIN_MAP_DROPPED]


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


def test_keep_decodes_the_same_picture(run: Run, tmp_path: Path) -> None:
    """The file is longer than what decoders read at once, and the map is read between its header and its pixels."""
    light = np.random.default_rng(1).random((900, 1200, 3), dtype=np.float32) * BRIGHT
    source = tmp_path / "noise.jpg"
    pyvips.Image.new_from_array(light).copy(interpretation="scrgb").uhdrsave(str(source), Q=95)
    step = {"action": "convert", "format": "jpeg"}
    run(source, {"id": "sdr", **step})
    run(source, {"id": "kept", "hdr": "keep", **step})
    assert has_gain_map(tmp_path / "kept.jpg")
    with Image.open(tmp_path / "kept.jpg") as kept, Image.open(tmp_path / "sdr.jpg") as sdr:
        assert np.array_equal(np.asarray(kept), np.asarray(sdr))


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
    rendered = run(source, {"id": "o", "format": "jpeg", "hdr": "keep", **step})
    assert not has_gain_map(tmp_path / "o.jpg")
    assert dropped(rendered) == ["o"]


def test_other_formats_and_plain_jpegs_have_none(run: Run, tmp_path: Path, source: Path) -> None:
    assert dropped(run(source, {**STEP, "format": "webp", "hdr": "keep"})) == ["o"]
    Image.new("RGB", (64, 64), (200, 100, 50)).save(tmp_path / "plain.jpg")
    assert not dropped(run(tmp_path / "plain.jpg", {**STEP, "hdr": "keep"}))
    assert not has_gain_map(tmp_path / "o.jpg")


def test_a_gain_map_that_is_kept_or_not_asked_for_gives_no_warning(run: Run, source: Path) -> None:
    assert not dropped(run(source, {**STEP, "hdr": "keep"}, {**STEP, "id": "other", "format": "webp"}))


def of_an_iphone(path: Path) -> Path:
    """128 × 64 with an auxiliary picture, whose type says that it is a gain map, and not alpha."""
    alpha, gain_map = b"urn:mpeg:hevc:2015:auxid:1\0", b"urn:com:apple:photo:2020:aux:hdrgainmap\0"
    with (FILES / "alpha.heic").open("rb") as file:
        meta, content = read_meta(file.fileno()), file.read()
    longer = len(gain_map) - len(alpha)
    for item, kind in meta.kinds():  # their data are behind the boxes
        if kind == b"hvc1":
            offset, place = struct.pack(">I", meta.position(item)), content.index(b"iloc")
            place = content.index(offset, place)
            content = content[:place] + struct.pack(">I", meta.position(item) + longer) + content[place + 4 :]
    for box in (b"meta", b"iprp", b"ipco", b"auxC"):
        place = content.index(box) - 4
        size = int.from_bytes(content[place : place + 4], "big") + longer
        content = content[:place] + struct.pack(">I", size) + content[place + 4 :]
    path.write_bytes(content.replace(alpha, gain_map))
    return path


def test_the_gain_map_of_a_heic_is_dropped_with_a_warning(run: Run, tmp_path: Path) -> None:
    """The picture is as bright as it is without `keep`."""
    path = of_an_iphone(tmp_path / "in.heic")
    step = {"action": "convert", "quality": 100}
    rendered = run(path, {"id": "kept", "hdr": "keep", **step}, {"id": "sdr", **step})
    assert dropped(rendered) == ["kept"]
    kept, sdr = (np.asarray(Image.open(tmp_path / f"{name}.jpg"), dtype=float) for name in ("kept", "sdr"))
    assert np.array_equal(kept, sdr)
    assert kept[16, 32] == pytest.approx((220, 40, 40), abs=6)
    assert kept[48, 64] == pytest.approx((40, 90, 220), abs=6)


@pytest.mark.parametrize("name", ["turned-p3.heic", "alpha.heic", "premultiplied.avif"])
def test_a_heic_without_a_gain_map_gives_no_warning(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes((FILES / name).read_bytes())
    assert not dropped(run(tmp_path / name, {"id": "o", "action": "convert", "format": "jpeg", "hdr": "keep"}))


def meta_box(*entries: bytes) -> bytes:
    """A file with the items of `meta` alone: each has a number and a type."""
    infos = [struct.pack(">I4sB3xHH4s", 20, b"infe", 2, number, 0, kind) for number, kind in enumerate(entries, 1)]
    body = struct.pack(">4xH", len(infos)) + b"".join(infos)
    items = struct.pack(">I4s", 8 + len(body), b"iinf") + body
    return struct.pack(">I4s4x", 12 + len(items), b"meta") + items


@pytest.mark.parametrize(
    ("content", "found"),
    [(meta_box(b"hvc1", b"tmap"), True), (meta_box(b"hvc1", b"Exif"), False), (meta_box(b"hvc1")[:20], False)],
)
def test_an_item_of_iso_21496_is_a_gain_map(tmp_path: Path, content: bytes, found: bool) -> None:
    (tmp_path / "in").write_bytes(content)
    with (tmp_path / "in").open("rb") as file:
        assert in_heif(file.fileno()) is found


def announced_by(data: bytes, segment: bytes) -> bytes:
    """The picture alone, which says by this segment that a gain map follows."""
    iso = data.index(b"\xff\xe2\x00\x22urn:iso")
    end = data.index(b"\xff\xd8\xff", 100)
    return data[:iso] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[iso + 36 : end]


XMP = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data, second: data[: second + 200],
        lambda data, second: data[:second],
        lambda data, second: data[: second + 600] + bytes(300) + data[second + 900 :],
        lambda data, second: data[: data.index(b"\xff\xda", second) + 30] + b"\xff\xd9",
        lambda data, _: announced_by(data, XMP + b'\n<Container:Item Item:Semantic="GainMap"/>'),
        lambda data, _: announced_by(data, XMP + b"<Item:Semantic>GainMap</Item:Semantic>"),
    ],
    ids=[
        "truncated",
        "missing",
        "zeros",
        "cut, with an end marker",
        "announced by XMP",
        "announced by an element of XMP",
    ],
)
def test_a_damaged_gain_map_is_dropped_with_a_warning(
    run: Run, tmp_path: Path, source: Path, damage: Callable[[bytes, int], bytes]
) -> None:
    data = source.read_bytes()
    source.write_bytes(damage(data, data.index(b"\xff\xd8\xff", 100)))
    assert dropped(run(source, {**STEP, "hdr": "keep"}, {**STEP, "id": "sdr"})) == ["o"]
    with Image.open(tmp_path / "o.jpg") as image:
        assert image.size == (160, 120)


def test_a_picture_that_announces_no_gain_map_gives_no_warning(run: Run, tmp_path: Path, source: Path) -> None:
    """Neither one with XMP and a second picture, nor a gain map by itself."""
    data = source.read_bytes()
    first = Image.new("RGB", (64, 64), (200, 100, 50))
    first.save(tmp_path / "two.mpo", save_all=True, append_images=[first])
    (tmp_path / "xmp.jpg").write_bytes(announced_by(data, XMP + b'<Container:Item Item:Semantic="Primary"/>'))
    (tmp_path / "map.jpg").write_bytes(data[data.index(b"\xff\xd8\xff", 100) :])
    for name in ("two.mpo", "xmp.jpg", "map.jpg"):
        assert not dropped(run(tmp_path / name, {**STEP, "hdr": "keep"})), name


def test_two_outputs_share_the_source(run: Run, tmp_path: Path, source: Path) -> None:
    run(source, {**STEP, "hdr": "keep"}, {**STEP, "id": "small", "width": 80, "hdr": "keep"}, {**STEP, "id": "sdr"})
    assert light_of(hdr(tmp_path / "o.jpg"), 0.25, 0.25) > 2
    assert light_of(hdr(tmp_path / "small.jpg"), 0.25, 0.25) > 2
    assert not has_gain_map(tmp_path / "sdr.jpg")
