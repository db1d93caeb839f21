"""Transparency of AVIF: it turns with the colors, and premultiplied colors are divided again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image
from tests.unit.imaging.pictures import Run, near

from pixelflow.imaging.heif_alpha import read_alpha

FILES = Path(__file__).parent / "files"
SAME = {"id": "o", "action": "convert", "format": "png"}
RED, BLUE = (220, 40, 40, 255), (40, 90, 220, 255)
QUARTERS = {"nw": (0.25, 0.25), "ne": (0.75, 0.25), "sw": (0.25, 0.75), "se": (0.75, 0.75)}


@pytest.mark.parametrize(
    ("name", "red", "clear"),
    [
        # `irot` turns counterclockwise; `imir` 0 exchanges top and bottom, 1 left and right.
        ("irot1", "sw", "nw"),
        ("irot2", "se", "sw"),
        ("irot3", "ne", "se"),
        ("imir0", "sw", "se"),
        ("imir1", "ne", "nw"),
    ],
)
def test_alpha_turns_with_the_colors(run: Run, tmp_path: Path, name: str, red: str, clear: str) -> None:
    run(FILES / f"{name}.avif", SAME)
    with Image.open(tmp_path / "o.png") as image:
        assert image.size == ((32, 48) if name in {"irot1", "irot3"} else (48, 32))
        for quarter, (x, y) in QUARTERS.items():
            pixel = image.getpixel((int(x * image.width), int(y * image.height)))
            expected = RED if quarter == red else BLUE
            if quarter == clear:
                assert pixel[3] <= 2  # type: ignore[index]
            else:
                assert near(pixel, expected, 5)  # type: ignore[arg-type]


def test_alpha_is_cropped_with_the_colors(run: Run, tmp_path: Path) -> None:
    run(FILES / "clap.avif", SAME)
    with Image.open(tmp_path / "o.png") as image:
        assert image.size == (24, 32)
        assert near(image.getpixel((18, 8)), RED, 5)  # type: ignore[arg-type]
        assert near(image.getpixel((18, 24)), BLUE, 5)  # type: ignore[arg-type]


def test_a_turned_picture_is_scaled(run: Run, tmp_path: Path) -> None:
    run(FILES / "irot3.avif", {"id": "o", "action": "resize", "width": 16, "format": "png"})
    with Image.open(tmp_path / "o.png") as image:
        assert image.size == (16, 24)
        assert near(image.getpixel((12, 6)), RED, 5)  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [48, 24])
def test_premultiplied_colors_are_straight(run: Run, tmp_path: Path, width: int) -> None:
    run(FILES / "premultiplied.avif", {"id": "o", "action": "resize", "width": width, "format": "png"})
    with Image.open(tmp_path / "o.png") as image:
        assert near(image.getpixel((width // 4, width // 4)), (200, 100, 40, 128), 5)  # type: ignore[arg-type]
        assert near(image.getpixel((width * 3 // 4, width // 4)), BLUE, 5)  # type: ignore[arg-type]


def test_a_damaged_file_says_nothing(tmp_path: Path) -> None:
    content = (FILES / "irot1.avif").read_bytes()
    for length in range(0, 420, 7):
        path = tmp_path / "short.avif"
        path.write_bytes(content[:length])
        descriptor = os.open(path, os.O_RDONLY)
        read_alpha(descriptor)
        os.close(descriptor)
