"""ICC profiles: which are those of sRGB, what damaged ones give, and the profiles that PixelFlow writes."""

from __future__ import annotations

import io
import struct
from itertools import product

import pytest
import pyvips
from PIL import ImageCms
from tests.unit.imaging.colour.files import by_littlecms

from pixelflow.imaging.colour import convert, curves, gamut, icc
from pixelflow.imaging.colour.curves import Parametric
from pixelflow.imaging.colour.gamut import Chromaticity

ADOBE = gamut.SRGB._replace(green=Chromaticity(0.21, 0.71))


def curve_tag(samples: list[int]) -> bytes:
    return b"curv" + struct.pack(">II", 0, len(samples)) + struct.pack(f">{len(samples)}H", *samples)


def with_curve(profile: bytes, curve: bytes) -> bytes:
    """Replace the curves of a profile that `icc.write` made."""
    at = len(profile)
    table = bytearray(profile[132 : 132 + 12 * 9])
    for entry in range(0, len(table), 12):
        if bytes(table[entry : entry + 4]) in (b"rTRC", b"gTRC", b"bTRC"):
            struct.pack_into(">II", table, entry + 4, at, len(curve))
    joined = profile[:132] + bytes(table) + profile[132 + len(table) :] + curve
    return struct.pack(">I", len(joined)) + joined[4:]


def sampled_srgb(count: int) -> bytes:
    return curve_tag([round(curves.SRGB(place / (count - 1)) * 65535) for place in range(count)])


def builtin(name: str) -> bytes:
    black = pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb")
    return bytes(black.icc_transform(name, input_profile="srgb").get("icc-profile-data"))


SRGB = icc.write(gamut.SRGB, curves.SRGB, "sRGB")
SRGB_PROFILES = {
    "written": lambda: SRGB,
    "littlecms": lambda: ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    "libvips": lambda: builtin("srgb"),
    "1024 samples": lambda: with_curve(SRGB, sampled_srgb(1024)),
    "42 samples": lambda: with_curve(SRGB, sampled_srgb(42)),
}
OTHERS = {
    "display p3": lambda: icc.write(gamut.DISPLAY_P3, curves.SRGB, "P3"),
    "libvips p3": lambda: builtin("p3"),
    "adobe": lambda: icc.write(ADOBE, Parametric(563 / 256), "Adobe"),
    "gamma 2.2": lambda: icc.write(gamut.SRGB, Parametric(2.2), "2.2"),
    "linear": lambda: icc.write(gamut.SRGB, curves.LINEAR, "linear"),
    "8 samples": lambda: with_curve(SRGB, sampled_srgb(8)),
}


@pytest.mark.parametrize("name", SRGB_PROFILES)
def test_profiles_of_srgb_are_recognized(name: str) -> None:
    space = icc.read(SRGB_PROFILES[name]()).space
    assert space is not None
    assert space.is_srgb


@pytest.mark.parametrize("name", OTHERS)
def test_profiles_of_other_spaces_are_not(name: str) -> None:
    space = icc.read(OTHERS[name]()).space
    assert space is not None
    assert not space.is_srgb


@pytest.mark.parametrize("name", SRGB_PROFILES)
def test_a_recognized_profile_changes_no_value_by_more_than_one(name: str) -> None:
    profile = SRGB_PROFILES[name]()
    for color in product((0, 16, 64, 128, 200, 255), repeat=3):
        far = max(abs(one - other) for one, other in zip(by_littlecms(color, profile), color, strict=True))
        assert far <= 1, color


@pytest.mark.parametrize("name", OTHERS)
def test_colors_are_those_of_another_implementation(name: str) -> None:
    profile = OTHERS[name]()
    for color in product((30, 90, 128, 200, 255), repeat=3):
        image = pyvips.Image.black(1, 1, bands=3).linear(1, list(color), uchar=True).copy(interpretation="srgb")
        image.set_type(pyvips.GValue.blob_type, convert.PROFILE, profile)
        got, expected = convert.to_target(image, convert.SRGB)(0, 0), by_littlecms(color, profile)
        # Channels that clip are next to 0, where the 8 bits of the other implementation are coarse.
        tolerance = 2 if min(expected) > 20 else 6
        assert max(abs(one - other) for one, other in zip(got, expected, strict=True)) <= tolerance, color


def test_the_written_profile_of_p3_is_compact_and_valid() -> None:
    profile = convert.DISPLAY_P3.profile
    assert profile is not None
    assert len(profile) < 600
    assert ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).strip() == "Display P3"
    space = icc.read(profile).space
    assert space is not None
    assert space.has_gamut(icc.DISPLAY_P3)


@pytest.mark.parametrize("length", [0, 3, 127, 131, 140, 200, 300, 400, 500])
def test_a_truncated_profile_never_raises(length: int) -> None:
    icc.read(SRGB[:length])


def test_damaged_profiles_never_raise() -> None:
    for place in range(128, len(SRGB), 3):
        for value in (0, 0x7F, 0xFF):
            space = icc.read(SRGB[:place] + bytes([value]) + SRGB[place + 1 :]).space
            if space is not None:
                image = pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb")
                image.set_type(
                    pyvips.GValue.blob_type, convert.PROFILE, SRGB[:place] + bytes([value]) + SRGB[place + 1 :]
                )
                convert.to_target(image, convert.SRGB)


def test_a_profile_with_lookup_tables_is_left_to_libvips() -> None:
    named = SRGB[:132] + SRGB[132:].replace(b"chad", b"A2B0", 1)
    assert icc.read(named).space is None
