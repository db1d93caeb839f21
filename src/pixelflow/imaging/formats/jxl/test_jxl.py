"""JPEG XL by libjxl's C interface: every kind of pixels comes back as it was."""

from __future__ import annotations

import pytest
import pyvips

from pixelflow.imaging.format import OutputEnds
from pixelflow.imaging.formats.jxl import libjxl
from pixelflow.imaging.formats.jxl.size import read_size


def _pixels(bands: int, bits: int) -> pyvips.Image:
    noise = pyvips.Image.gaussnoise(37, 23, mean=128, sigma=50, seed=1).cast("uchar")
    image = noise.bandjoin([noise.rot180(), noise.fliphor(), noise.flipver()][: bands - 1]) if bands > 1 else noise
    return image if bits == 8 else (image.cast("ushort") * 257).cast("ushort")


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_pixels_come_back(bands: int, bits: int) -> None:
    info, image = libjxl.Info(37, 23, bands, bits), _pixels(bands, bits)
    data = libjxl.encode(info, image.write_to_memory(), quality=None, effort=1)
    assert libjxl.read_info(data) == info
    assert bytes(libjxl.decode(data).pixels) == bytes(image.write_to_memory())


def test_a_color_profile_is_kept_without_loss() -> None:
    black = pyvips.Image.black(37, 23, bands=3).copy(interpretation="srgb")
    profile = black.icc_transform("p3", input_profile="srgb").get("icc-profile-data")
    info, pixels = libjxl.Info(37, 23, 3, 8), _pixels(3, 8).write_to_memory()
    data = libjxl.encode(info, pixels, quality=None, effort=1, profile=profile)
    assert libjxl.decode(data).profile == profile
    with pytest.raises(libjxl.JxlError):
        libjxl.encode(info, pixels, quality=None, effort=1, profile=b"no profile")


@pytest.mark.parametrize("kept", [0, 2, 20, -30])
def test_a_truncated_file_is_an_error(kept: int) -> None:
    data = libjxl.encode(libjxl.Info(37, 23, 3, 8), _pixels(3, 8).write_to_memory(), quality=80, effort=1)
    with pytest.raises(libjxl.JxlError):
        libjxl.decode(data[:kept])


@pytest.mark.parametrize(
    "size",
    [(1, 1), (8, 8), (256, 256), (257, 256), (300, 200), (1920, 1080), (1, 5000), (70_000, 3), (600, 500), (64, 32)],
)
@pytest.mark.parametrize("bits", [8, 16])
def test_the_size_is_read_from_the_header(size: tuple[int, int], bits: int) -> None:
    width, height = size
    info, pixels = libjxl.Info(width, height, 1, bits), bytearray(width * height * bits // 8)
    data = libjxl.encode(info, pixels, quality=None, effort=1)
    assert read_size(OutputEnds(data[:4096], data[-16:], len(data))) == size
