"""Transparency of HEIC: it turns with the colors, and premultiplied colors are divided again."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from PIL import Image
from tests.unit.imaging.pictures import Run, near

FILES = Path(__file__).parent / "files"
SAME = {"id": "o", "action": "convert", "format": "png"}
RED, BLUE = (220, 40, 40, 255), (40, 90, 220, 255)
QUARTERS = {"nw": (0.25, 0.25), "ne": (0.75, 0.25), "sw": (0.25, 0.75), "se": (0.75, 0.75)}
COLORS, ALPHA = 1, 2
"""Items of `alpha.heic`."""


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


IROT1, IROT2, IROT3 = (box(b"irot", bytes((quarters,))) for quarters in (1, 2, 3))
IMIR0, IMIR1 = (box(b"imir", bytes((axis,))) for axis in (0, 1))
LEFT_HALF = box(b"clap", struct.pack(">IIIIiIiI", 64, 1, 64, 1, -32, 1, 0, 1))


def edited(of_colors: tuple[bytes, ...], of_alpha: tuple[bytes, ...] = ()) -> bytes:
    """`alpha.heic` with properties added to its items."""
    content = bytearray((FILES / "alpha.heic").read_bytes())
    start = {kind: content.index(kind) - 4 for kind in (b"meta", b"iloc", b"iprp", b"ipco", b"ipma")}
    added = (*of_colors, *of_alpha)
    next_property = 8
    entries = ((COLORS, [0x81, 2, 0x83], of_colors), (ALPHA, [0x84, 5, 6, 0x87], of_alpha))
    ipma = struct.pack(">II", 0, 2)
    for item, indexes, properties in entries:
        mine = [*indexes, *(0x80 | next_property + place for place in range(len(properties)))]
        next_property += len(properties)
        ipma += struct.pack(">HB", item, len(mine)) + bytes(mine)
    grown = len(b"".join(added)) + len(added)
    for place in (start[b"iloc"] + 20, start[b"iloc"] + 38):  # the base of the offsets of each item
        struct.pack_into(">I", content, place, struct.unpack_from(">I", content, place)[0] + grown)
    for kind, size in ((b"meta", grown), (b"iprp", grown), (b"ipco", grown - len(added))):
        struct.pack_into(">I", content, start[kind], struct.unpack_from(">I", content, start[kind])[0] + size)
    end = start[b"ipma"] + struct.unpack_from(">I", content, start[b"ipma"])[0]
    content[start[b"ipma"] : end] = b"".join(added) + box(b"ipma", ipma)
    return bytes(content)


@pytest.mark.parametrize("both", [False, True], ids=["of the colors alone", "of both"])
@pytest.mark.parametrize(
    ("properties", "red", "clear"),
    [
        # `irot` turns counterclockwise; `imir` 0 exchanges top and bottom, 1 left and right.
        pytest.param((), "nw", "ne", id="as stored"),
        pytest.param((IROT1,), "sw", "nw", id="rotated by 90"),
        pytest.param((IROT2,), "se", "sw", id="rotated by 180"),
        pytest.param((IROT3,), "ne", "se", id="rotated by 270"),
        pytest.param((IMIR0,), "sw", "se", id="mirrored down"),
        pytest.param((IMIR1,), "ne", "nw", id="mirrored across"),
        pytest.param((IROT1, IMIR0), "nw", "sw", id="rotated and mirrored"),
    ],
)
def test_alpha_turns_with_the_colors(
    run: Run, tmp_path: Path, *, properties: tuple[bytes, ...], red: str, clear: str, both: bool
) -> None:
    source = tmp_path / "in.heic"
    source.write_bytes(edited(properties, properties if both else ()))
    rendered = run(source, SAME)
    size = (64, 128) if {IROT1, IROT3}.intersection(properties) else (128, 64)
    assert (rendered.source.width, rendered.source.height) == size
    with Image.open(tmp_path / "o.png") as image:
        assert image.size == size
        for quarter, (x, y) in QUARTERS.items():
            pixel = image.getpixel((int(x * image.width), int(y * image.height)))
            if quarter == clear:
                assert pixel[3] <= 2  # type: ignore[index]
            else:
                assert near(pixel, RED if quarter == red else BLUE, 5)  # type: ignore[arg-type]


def test_alpha_is_cropped_with_the_colors(run: Run, tmp_path: Path) -> None:
    """The left half, then turned upside down."""
    source = tmp_path / "in.heic"
    source.write_bytes(edited((LEFT_HALF, IROT2)))
    run(source, SAME)
    with Image.open(tmp_path / "o.png") as image:
        assert image.size == (64, 64)
        assert near(image.getpixel((32, 16)), BLUE, 5)  # type: ignore[arg-type]
        assert near(image.getpixel((32, 48)), RED, 5)  # type: ignore[arg-type]


def test_a_turned_picture_is_scaled(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "in.heic"
    source.write_bytes(edited((IROT3,)))
    run(source, {"id": "o", "action": "resize", "width": 32, "format": "png"})
    with Image.open(tmp_path / "o.png") as image:
        assert image.size == (32, 64)
        assert near(image.getpixel((24, 16)), RED, 5)  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [128, 64])
def test_premultiplied_colors_are_straight(run: Run, tmp_path: Path, width: int) -> None:
    run(FILES / "premultiplied.heic", {"id": "o", "action": "resize", "width": width, "format": "png"})
    with Image.open(tmp_path / "o.png") as image:
        assert near(image.getpixel((width // 4, width // 4)), (200, 100, 40, 128), 5)  # type: ignore[arg-type]
        assert near(image.getpixel((width * 3 // 4, width // 4)), BLUE, 5)  # type: ignore[arg-type]
