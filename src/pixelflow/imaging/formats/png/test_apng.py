"""Animated PNG: frames are placed, turned and described like stills."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngImageFile
from tests.unit.imaging.pictures import Run, four_colors, near, upright

from pixelflow.errors import UndecodableError
from pixelflow.imaging.formats.png.load import load
from pixelflow.imaging.loading import LoadOptions
from pixelflow.imaging.pillow import open_image
from pixelflow.imaging.source_options import SourceOptions

SAME = {"id": "out", "action": "convert", "format": "png"}
MOVING = {"id": "out", "action": "convert", "format": "webp", "metadata": "all", "encoder": {"lossless": True}}
SIZE = (24, 16)
TURNED = 6


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def exif() -> bytes:
    made = Image.Exif()
    made[0x0112], made[0x8298] = TURNED, "Ada"  # orientation and copyright
    return made.tobytes().removeprefix(b"Exif\0\0")


def stored(image: Image.Image) -> Image.Image:
    """The image as a camera stores it that was held as orientation 6 says."""
    return image.transpose(Image.Transpose.ROTATE_90)


def single(frame: Image.Image, *, place: tuple[int, int] = (0, 0), wide: bool = False) -> bytes:
    """A default image in magenta, and a frame beside it."""
    depth, channels = (16, 3) if wide else (8, 4)
    pixels = np.asarray(frame.convert("RGB" if wide else "RGBA")).astype(">u2" if wide else "u1")
    rows = b"".join(b"\0" + row.tobytes() for row in ((pixels * 256 + 17).astype(">u2") if wide else pixels))
    default = (b"\0" + b"\xff\0\xff\xff" * SIZE[0] if not wide else b"\0" + b"\xff\xff\0\0\xff\xff" * SIZE[0]) * SIZE[1]
    color = {3: 2, 4: 6}[channels]
    control = struct.pack(">5IHHBB", 0, *frame.size, *place, 1, 10, 0, 1)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", *SIZE, depth, color, 0, 0, 0)),
            chunk(b"acTL", struct.pack(">II", 1, 0)),
            chunk(b"eXIf", exif()),
            chunk(b"IDAT", zlib.compress(default)),
            chunk(b"fcTL", control),
            chunk(b"fdAT", struct.pack(">I", 1) + zlib.compress(rows)),
            chunk(b"IEND", b""),
        )
    )


@pytest.mark.parametrize("wide", [False, True])
def test_a_single_frame_is_turned_and_keeps_metadata(run: Run, tmp_path: Path, wide: bool) -> None:
    (tmp_path / "in.png").write_bytes(single(stored(four_colors(16, 24)), wide=wide))
    run(tmp_path / "in.png", SAME | {"metadata": "all"} | ({"encoder": {"bit_depth": 16}} if wide else {}))
    content = (tmp_path / "out.png").read_bytes()
    assert content[24] == (16 if wide else 8)
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == (16, 24)
        assert upright(image)
        assert image.getexif()[0x8298] == "Ada"


def test_a_single_frame_is_placed_on_transparent_black(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.png").write_bytes(single(Image.new("RGBA", (8, 6), (255, 0, 0, 128)), place=(4, 2)))
    run(tmp_path / "in.png", SAME)
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == (16, 24)
        assert image.getpixel((15 - 4, 6)) == (255, 0, 0, 128)
        assert image.getpixel((0, 23)) == (0, 0, 0, 0)
        assert np.count_nonzero(np.asarray(image)[..., 3]) == 8 * 6


def test_a_single_frame_must_be_within_its_canvas(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.png").write_bytes(single(Image.new("RGBA", (8, 6)), place=(17, 2)))
    with pytest.raises(UndecodableError):
        run(tmp_path / "in.png", SAME)


@pytest.mark.parametrize("damage", [b"cut", b"fdAT", b"IDAT"])
def test_damage_of_a_single_frame_is_found(run: Run, tmp_path: Path, damage: bytes) -> None:
    content = bytearray(single(Image.effect_noise(SIZE, 90)))
    frame = content.index(b"fdAT")
    if damage == b"cut":
        content = content[: frame + 300]
    else:
        content[content.index(damage) + 20] ^= 0x55
    (tmp_path / "in.png").write_bytes(content)
    if damage == b"IDAT":  # of the default image, which is not shown
        assert run(tmp_path / "in.png", SAME).source.frames == 1
        return
    with pytest.raises(UndecodableError):
        run(tmp_path / "in.png", SAME)


def test_frames_are_turned_and_keep_metadata(run: Run, tmp_path: Path) -> None:
    pictures = [stored(four_colors(16, 24)), Image.new("RGB", SIZE, "red")]
    file = io.BytesIO()
    pictures[0].save(file, "PNG", save_all=True, append_images=pictures[1:], exif=exif())
    (tmp_path / "in.png").write_bytes(file.getvalue())
    assert run(tmp_path / "in.png", MOVING).source.frames == 2
    with Image.open(tmp_path / "out.webp") as image:
        assert (image.size, getattr(image, "n_frames", 1)) == ((16, 24), 2)
        assert upright(image)
        assert image.getexif()[0x8298] == "Ada"
        image.seek(1)
        assert near(image.convert("RGB").getpixel((8, 12)), (255, 0, 0))  # type: ignore[arg-type]


def test_a_tolerant_decoder_leaves_no_other_tolerant(tmp_path: Path) -> None:
    pictures = [Image.effect_noise((64, 64), 90 + each).convert("RGB") for each in range(2)]
    pictures[0].save(tmp_path / "in.png", save_all=True, append_images=pictures[1:])
    content = (tmp_path / "in.png").read_bytes()
    (tmp_path / "in.png").write_bytes(content[: len(content) - 5000])
    descriptor = os.open(tmp_path / "in.png", os.O_RDONLY)
    with open_image(descriptor, PngImageFile, tolerant=True):
        assert ImageFile.LOAD_TRUNCATED_IMAGES is True
    options = LoadOptions(SourceOptions(), frames=2)
    with pytest.raises(UndecodableError):
        load(descriptor, options)
    assert load(descriptor, LoadOptions(SourceOptions(), frames=2, tolerant=True)).get("page-height") == 64
    with pytest.raises(UndecodableError):
        load(descriptor, options)
    os.close(descriptor)
