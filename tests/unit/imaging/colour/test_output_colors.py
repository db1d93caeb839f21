"""The color space of outputs: `color_space` of a step, gray, and the profile that an output has."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import pyvips
from PIL import Image, ImageCms
from tests.unit.imaging.colour.files import Rgb, by_littlecms, png, profile_chunk
from tests.unit.imaging.pictures import Run, near

from pixelflow.imaging.colour import convert, curves, gamut, icc
from pixelflow.imaging.colour.curves import Parametric
from pixelflow.imaging.colour.gamut import Chromaticity

COLOR = (200, 100, 50)
ADOBE = icc.write(gamut.SRGB._replace(green=Chromaticity(0.21, 0.71)), Parametric(2.2), "Adobe")
P3 = icc.write(gamut.DISPLAY_P3, curves.SRGB, "P3 of a phone")
SRGB = icc.write(gamut.SRGB, curves.SRGB, "sRGB")
LOSSLESS = {"id": "o", "action": "resize", "width": 32, "format": "png"}


def output(run: Run, tmp_path: Path, source: bytes, *steps: dict[str, Any], name: str = "o.png") -> Image.Image:
    (tmp_path / "source").write_bytes(source)
    run(tmp_path / "source", *steps)
    with Image.open(tmp_path / name) as image:
        image.load()
        return image


def color_of(image: Image.Image) -> Rgb:
    return image.getpixel((9, 9))  # type: ignore[return-value]


def shown(image: Image.Image) -> Rgb:
    """The color in sRGB of a picture with a profile, by another implementation."""
    return by_littlecms(color_of(image), image.info["icc_profile"])


@pytest.mark.parametrize("format_", ["png", "jpeg", "webp", "avif", "tiff"])
@pytest.mark.parametrize("source", [png(COLOR), png(COLOR, profile_chunk(P3)), png(COLOR, profile_chunk(ADOBE))])
def test_p3_is_converted_and_tagged_in_every_format(run: Run, tmp_path: Path, source: bytes, format_: str) -> None:
    expected = color_of(output(run, tmp_path, source, LOSSLESS))
    name = "p.jpg" if format_ == "jpeg" else f"p.{format_}"
    step = {"id": "p", "action": "resize", "width": 32, "format": format_, "color_space": "p3", "quality": 100}
    found = output(run, tmp_path, source, step, name=name)
    assert ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(found.info["icc_profile"]))).strip() == (
        "Display P3"
    )
    assert near(shown(found), expected, 3)


def test_gif_is_srgb(run: Run, tmp_path: Path) -> None:
    step = {**LOSSLESS, "format": "gif", "color_space": "p3"}
    found = output(run, tmp_path, png(COLOR), step, name="o.gif")
    assert near(color_of(found.convert("RGB")), COLOR, 8)


def test_a_picture_in_p3_keeps_its_values(run: Run, tmp_path: Path) -> None:
    found = output(run, tmp_path, png((255, 0, 0), profile_chunk(P3)), {**LOSSLESS, "color_space": "p3"})
    assert color_of(found) == (255, 0, 0)


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("profile", [ADOBE, P3])
def test_keep_keeps_values_and_profile(run: Run, tmp_path: Path, profile: bytes, linear: bool) -> None:
    step = {**LOSSLESS, "width": 16, "color_space": "keep", "linear": linear}
    found = output(run, tmp_path, png(COLOR, profile_chunk(profile)), step)
    assert color_of(found) == COLOR
    assert found.info["icc_profile"] == profile


@pytest.mark.parametrize("chunks", [[], [profile_chunk(SRGB)], [(b"sRGB", b"\0")]])
@pytest.mark.parametrize("color", ["srgb", "keep"])
def test_an_output_in_srgb_has_no_profile(run: Run, tmp_path: Path, chunks: list[Any], color: str) -> None:
    found = output(run, tmp_path, png(COLOR, *chunks), {**LOSSLESS, "color_space": color})
    assert color_of(found) == COLOR
    assert "icc_profile" not in found.info


def test_keep_of_code_points_makes_a_profile(run: Run, tmp_path: Path) -> None:
    source = png(COLOR, (b"cICP", bytes((9, 13, 0, 1))))
    found = output(run, tmp_path, source, {**LOSSLESS, "color_space": "keep"})
    assert color_of(found) == COLOR
    assert near(shown(found), color_of(output(run, tmp_path, source, LOSSLESS)), 2)


def test_keep_of_hdr_is_tone_mapped_in_its_primaries(run: Run, tmp_path: Path) -> None:
    stored = tuple(round(value * 65535) for value in (0.5, 0.4, 0.4))
    source = png(stored, (b"cICP", bytes((9, 16, 0, 1))), depth=16)
    found = output(run, tmp_path, source, {**LOSSLESS, "color_space": "keep"})
    assert near(shown(found), color_of(output(run, tmp_path, source, LOSSLESS)), 2)


def test_keep_of_cmyk_is_srgb(run: Run, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("CMYK", (32, 32), (0, 255, 255, 0)).save(buffer, "JPEG", quality=95)
    found = output(run, tmp_path, buffer.getvalue(), {**LOSSLESS, "color_space": "keep"})
    assert found.mode == "RGB"
    assert found.info.get("icc_profile") is None
    assert color_of(found)[0] > 200


def test_a_chain_keeps_the_gamut_of_its_output(run: Run, tmp_path: Path) -> None:
    """Adjusting would clip colors to sRGB, if the step in between did not work in the space of the output."""
    source = png((255, 0, 0), profile_chunk(P3))
    between = {"id": "a", "action": "adjust", "gamma": 1.0, "saturation": 1.0, "output": False}
    found = output(run, tmp_path, source, between, {**LOSSLESS, "from": "a", "color_space": "p3"})
    assert color_of(found) == (255, 0, 0)


@pytest.mark.parametrize(("format_", "mode"), [("png", "L"), ("jpeg", "L"), ("webp", "RGB")])
@pytest.mark.parametrize("color", ["srgb", "p3", "keep"])
def test_gray_stays_gray(run: Run, tmp_path: Path, format_: str, mode: str, color: str) -> None:
    buffer = io.BytesIO()
    Image.new("L", (64, 64), 77).save(buffer, "JPEG", quality=95)
    step = {**LOSSLESS, "width": 16, "format": format_, "color_space": color}
    name = "o.jpg" if format_ == "jpeg" else f"o.{format_}"
    found = output(run, tmp_path, buffer.getvalue(), step, name=name)
    assert found.mode == mode
    assert near(color_of(found.convert("RGB")), (77, 77, 77), 2)
    assert "icc_profile" not in found.info


@pytest.mark.parametrize(
    ("background", "mode", "corner"),
    [("#808080", "L", 128), ("#ff8000", "RGB", (255, 128, 0)), ("#80808000", "LA", (128, 0))],
)
def test_gray_is_padded(run: Run, tmp_path: Path, background: str, mode: str, corner: object) -> None:
    step = {**LOSSLESS, "width": 64, "height": 32, "fit": "contain", "background": background}
    found = output(run, tmp_path, png((77,)), step)
    assert found.mode == mode
    assert found.getpixel((0, 0)) == corner
    assert near(color_of(found.convert("RGB").crop((16, 0, 48, 32))), (77, 77, 77), 0)


@pytest.mark.parametrize(
    "step",
    [
        {"action": "convert"},
        {"action": "flip", "direction": "horizontal"},
        {"action": "blur", "sigma": 2},
        {"action": "pixelate", "size": 4},
        {"action": "crop", "width": 16, "height": 16},
        {"action": "grayscale"},
    ],
)
def test_operations_that_add_no_color_keep_gray(run: Run, tmp_path: Path, step: dict[str, Any]) -> None:
    for source, mode in ((png((77,)), "L"), (png((77, 200)), "LA")):
        assert output(run, tmp_path, source, {"id": "o", "format": "png", **step}).mode == mode


def test_grayscale_makes_gray_files(run: Run, tmp_path: Path) -> None:
    assert output(run, tmp_path, png(COLOR), {"id": "o", "action": "grayscale", "format": "png"}).mode == "L"


def test_gray_with_alpha_stays_so(run: Run, tmp_path: Path) -> None:
    found = output(run, tmp_path, png((77, 10)), {**LOSSLESS, "width": 16})
    assert found.mode == "LA"
    assert color_of(found) == (77, 10)


def test_sixteen_bits_of_gray_are_rounded(run: Run, tmp_path: Path) -> None:
    for value, expected in ((0, 0), (128, 0), (129, 1), (0x80FF, 128), (0x8110, 129), (65535, 255)):
        found: object = color_of(output(run, tmp_path, png((value,), depth=16), LOSSLESS))
        assert found == expected


def test_a_gray_profile_is_converted(run: Run, tmp_path: Path) -> None:
    profile = bytearray(icc.write(gamut.SRGB, Parametric(1.0), "linear gray").replace(b"rTRC", b"kTRC"))
    profile[16:20] = b"GRAY"
    found = output(run, tmp_path, png((55,), profile_chunk(bytes(profile))), LOSSLESS)
    assert found.mode == "L"
    assert color_of(found) == pytest.approx(128, abs=1)


@pytest.mark.parametrize("format_", ["png", "jpeg"])
def test_a_background_is_the_same_color_in_p3(run: Run, tmp_path: Path, format_: str) -> None:
    """(255, 128, 0) of sRGB, behind transparent pixels and as padding."""
    step = {"id": "p", "action": "resize", "width": 64, "height": 32, "fit": "contain", "quality": 100}
    step |= {"color_space": "p3", "background": "#ff8000", "format": format_}
    found = output(run, tmp_path, png((0, 0, 0, 0)), step, name="p.png" if format_ == "png" else "p.jpg")
    places = [(2, 2)] if format_ == "png" else [(2, 2), (32, 16)]
    for place in places:
        pixel = found.convert("RGB").getpixel(place)
        assert near(by_littlecms(pixel, found.info["icc_profile"]), (255, 128, 0), 4)  # type: ignore[arg-type]


def test_a_color_outside_the_gamut_clips() -> None:
    assert convert.values_of((255, 0, 0), _pixel(P3)) == pytest.approx((234, 51, 35), abs=1)


def _pixel(profile: bytes) -> pyvips.Image:
    image = pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb")
    image.set_type(pyvips.GValue.blob_type, convert.PROFILE, profile)
    return image


@pytest.mark.parametrize(
    "step",
    [
        {"action": "pad", "padding": 8, "background": "#ff0000"},
        {"action": "rotate", "angle": 45, "background": "#ff0000"},
        {"action": "rotate", "angle": 45, "background": "#ff000080"},
        {"action": "border", "width": 8, "color": "#ff0000"},
        {"action": "border", "width": 8, "color": "#ff0000", "position": "inside"},
        {"action": "border", "width": 8, "color": "#ff000080", "radius": {"bottom_right": 4}},
    ],
)
def test_what_is_added_around_a_picture_in_p3_has_the_color_of_srgb(
    run: Run, tmp_path: Path, step: dict[str, object]
) -> None:
    """Red of sRGB in Display P3, by the published matrices."""
    found = output(run, tmp_path, png((10, 200, 30), profile_chunk(P3)), {"id": "o", **step, "color_space": "p3"})
    assert near(found.convert("RGBA").getpixel((1, 1))[:3], (234, 51, 35), 1)  # type: ignore[index]


def test_a_border_in_p3_is_trimmed_by_its_color_in_srgb(run: Run, tmp_path: Path) -> None:
    source = png((10, 200, 30), profile_chunk(P3))
    framed = {"id": "a", "action": "border", "width": 8, "color": "#ff0000", "color_space": "p3", "format": "png"}
    trim = {"id": "o", "from": "a", "action": "trim", "color": "#ff0000", "threshold": 2, "color_space": "p3"}
    found = output(run, tmp_path, source, framed, trim)
    with Image.open(tmp_path / "a.png") as image:
        assert found.width == image.width - 16
