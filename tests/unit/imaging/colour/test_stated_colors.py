"""Colors that a PNG or AVIF states beside a profile: right values in sRGB."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from PIL import Image
from tests.unit.imaging.colour.files import Rgb, by_littlecms, png, profile_chunk
from tests.unit.imaging.pictures import Run, near

from pixelflow.imaging.colour import curves, gamut, icc
from pixelflow.imaging.colour.curves import Parametric
from pixelflow.imaging.colour.gamut import Chromaticity
from pixelflow.imaging.colour.isobmff import read_color

FILES = Path(__file__).parent.parent / "files"
SAME = {"id": "same", "action": "resize", "width": 48, "format": "png"}
COLOR = (200, 100, 50)
P3 = icc.write(gamut.DISPLAY_P3, curves.SRGB, "P3")
BT2020 = icc.write(gamut.BT2020, curves.SRGB, "BT.2020")


def cicp(*points: int) -> tuple[bytes, bytes]:
    return b"cICP", bytes(points)


def gamma(value: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(value * 100_000))


def primaries(*values: float) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in values))


P3_PRIMARIES = primaries(0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
SRGB_PRIMARIES = primaries(0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
GAMMA_18 = icc.write(gamut.SRGB, Parametric(1.8), "1.8")
P3_GAMMA_18 = icc.write(gamut.DISPLAY_P3, Parametric(1.8), "P3 1.8")


@pytest.mark.parametrize(
    ("source", "expected", "tolerance"),
    [
        # PNG, third edition, 13.13: a value of 55 in linear light is one of 128 on the curve of sRGB.
        (png((55, 55, 55), gamma(1)), (128, 128, 128), 1),
        (png((55,), gamma(1)), (128, 128, 128), 1),
        (png((55, 55, 55, 128), gamma(1)), (128, 128, 128), 1),
        (png((55, 55, 55), gamma(0.45455)), (55, 55, 55), 0),
        (png((55, 55, 55), gamma(0.45455), SRGB_PRIMARIES), (55, 55, 55), 0),
        (png((128, 128, 128), gamma(1 / 1.8)), (147, 147, 147), 1),
        (png((55, 55, 55), (b"sRGB", b"\0"), gamma(1)), (55, 55, 55), 0),
        (png(COLOR, P3_PRIMARIES, gamma(1 / 1.8)), by_littlecms(COLOR, P3_GAMMA_18), 1),
        (png(COLOR, P3_PRIMARIES), COLOR, 0),  # without gAMA, cHRM says nothing of the values
        (png(COLOR, profile_chunk(P3), gamma(1)), by_littlecms(COLOR, P3), 1),
        (png(COLOR, profile_chunk(P3), cicp(1, 13, 0, 1)), COLOR, 0),
        (png(COLOR, cicp(12, 13, 0, 1)), by_littlecms(COLOR, P3), 1),
        (png(COLOR, cicp(12, 13, 0, 1), (b"sRGB", b"\0")), by_littlecms(COLOR, P3), 1),
        (png(COLOR, cicp(9, 13, 0, 1)), by_littlecms(COLOR, BT2020), 1),
        (png(tuple(value * 257 for value in COLOR), cicp(12, 13, 0, 1), depth=16), by_littlecms(COLOR, P3), 1),
        (png((16, 126, 235), cicp(1, 13, 0, 0)), (0, 128, 255), 1),  # narrow range
        (png(tuple(value * 257 for value in (16, 126, 235)), cicp(1, 13, 0, 0), depth=16), (0, 128, 255), 1),
        (png(COLOR, cicp(12, 13, 9, 1)), COLOR, 0),  # YCbCr is invalid in PNG
        (png(COLOR, cicp(2, 2, 0, 1)), COLOR, 0),  # unspecified
        (png(COLOR, cicp(77, 99, 0, 1)), COLOR, 0),  # unknown
        (png(COLOR, gamma(0)), COLOR, 0),
        (png(COLOR, gamma(1 / 1.8), primaries(*[0] * 8)), by_littlecms(COLOR, GAMMA_18), 1),
    ],
)  # fmt: skip
def test_chunks_of_png(run: Run, tmp_path: Path, source: bytes, expected: Rgb, tolerance: int) -> None:
    (tmp_path / "source").write_bytes(source)
    run(tmp_path / "source", SAME)
    with Image.open(tmp_path / "same.png") as image:
        assert near(image.convert("RGB").getpixel((9, 9)), expected, tolerance)  # type: ignore[arg-type]
        assert image.info.keys().isdisjoint({"icc_profile", "gamma", "chromaticity"})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("srgb", COLOR),
        ("limited", COLOR),
        ("p3", by_littlecms(COLOR, P3)),
        ("bt2020", by_littlecms(COLOR, BT2020)),
        ("gray", (200, 200, 200)),
        ("limited-gray", (200, 200, 200)),
    ],
)
def test_code_points_of_avif(run: Run, tmp_path: Path, name: str, expected: Rgb) -> None:
    run(FILES / f"{name}.avif", SAME)
    with Image.open(tmp_path / "same.png") as image:
        assert near(image.convert("RGB").getpixel((9, 9)), expected, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("transfer", "value", "expected"),
    [
        # Diffuse white (BT.2408: 203 nits) is light, black is black, and the brightest highlight is white.
        (16, 0.5806, (235, 25)),
        (18, 0.75, (235, 25)),
        (16, 0.0, (0, 0)),
        (18, 0.0, (0, 0)),
        (16, 0.7518, (255, 1)),
        (16, 1.0, (255, 0)),
        (18, 1.0, (255, 1)),
        # 26 nits, an 18 % gray card under the same light (BT.2408, table 1), keeps its relation to diffuse white.
        (16, 0.38, (100, 12)),
        (18, 0.38, (100, 12)),
    ],
)
def test_hdr_is_tone_mapped(run: Run, tmp_path: Path, transfer: int, value: float, expected: tuple[int, int]) -> None:
    for channels in (1, 3, 4):
        stored = (round(value * 65535),) * channels
        (tmp_path / "source").write_bytes(png(stored, cicp(9, transfer, 0, 1), depth=16))
        run(tmp_path / "source", SAME)
        with Image.open(tmp_path / "same.png") as image:
            assert near(image.convert("RGBA").getpixel((9, 9))[:3], (expected[0],) * 3, expected[1])  # type: ignore[index]


@pytest.mark.parametrize("name", ["pq", "hlg"])
def test_diffuse_white_of_an_hdr_avif_is_light(run: Run, tmp_path: Path, name: str) -> None:
    run(FILES / f"{name}.avif", SAME)
    with Image.open(tmp_path / "same.png") as image:
        assert near(image.convert("RGB").getpixel((9, 9)), (235, 235, 235), 25)  # type: ignore[arg-type]


def test_tone_mapping_rises_and_keeps_hues(run: Run, tmp_path: Path) -> None:
    tones = [curves.tone_map(nits) for nits in range(1, 4000, 7)]
    assert tones == sorted(tones)
    stored = tuple(round(curves.nits_to_pq(nits) * 65535) for nits in (800, 100, 100))
    (tmp_path / "source").write_bytes(png(stored, cicp(1, 16, 0, 1), depth=16))
    run(tmp_path / "source", SAME)
    with Image.open(tmp_path / "same.png") as image:
        red, green, blue = (curves.SRGB(value / 255) for value in image.getpixel((9, 9)))  # type: ignore[union-attr]
    assert red / green == pytest.approx(8, rel=0.05)
    assert green == blue


@pytest.mark.parametrize("length", [8, 30, 60, 90, 150, 200, 250, 290])
def test_a_truncated_avif_states_nothing(tmp_path: Path, length: int) -> None:
    (tmp_path / "source").write_bytes((FILES / "p3.avif").read_bytes()[:length])
    with (tmp_path / "source").open("rb") as file:
        assert read_color(file.fileno()).code_points in (None, (12, 13, 6, True))


def test_primaries_on_a_line_are_of_no_space() -> None:
    flat = Chromaticity(0.3, 0.3)
    with pytest.raises(ValueError, match="singular"):
        gamut.rgb_to_xyz(gamut.Primaries(flat, flat, flat, gamut.D65))
