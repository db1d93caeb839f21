"""TIFF: every kind that can be read comes out right, and the others are refused by name."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest
import pyvips
from PIL import Image
from tests.unit.imaging.pictures import Run, four_colors, upright

from pixelflow.errors import UndecodableError, UnsupportedFormatError
from pixelflow.imaging.formats.tiff.directory import is_sparse, read_file_tags
from pixelflow.imaging.protocol import WarningCode

STEP = {"id": "a", "action": "resize", "width": 60, "format": "png"}


OPTIONS: list[dict[str, Any]] = [
    {"compression": "deflate", "predictor": "horizontal"},
    {"compression": "packbits"},
    {"tile": True, "pyramid": True},
    {"bigtiff": True},
]
KINDS = [(kind, options) for kind in ("srgb", "rgb16", "scrgb", "alpha") for options in OPTIONS]


@pytest.mark.parametrize(("kind", "options"), [*KINDS, ("srgb", {"compression": "jpeg", "Q": 95})])
def test_every_kind_is_read(run: Run, tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    four_colors(120, 80).save(tmp_path / "in.png")
    image = pyvips.Image.pngload_source(pyvips.Source.new_from_file(str(tmp_path / "in.png")))
    image = image.bandjoin(255) if kind == "alpha" else image.colourspace(kind)
    (tmp_path / "in.tif").write_bytes(image.tiffsave_buffer(**options))
    run(tmp_path / "in.tif", STEP)
    assert upright(Image.open(tmp_path / "a.png").convert("RGB"))


@pytest.mark.parametrize("compression", ["group3", "group4"])
def test_a_fax_is_read(run: Run, tmp_path: Path, compression: str) -> None:
    image = Image.new("1", (120, 80), 1)
    image.paste(0, (0, 0, 60, 80))
    image.save(tmp_path / "in.tif", compression=compression)
    run(tmp_path / "in.tif", STEP)
    with Image.open(tmp_path / "a.png") as output:
        assert [output.convert("L").getpixel((x, 20)) for x in (10, 50)] == [0, 255]


@pytest.mark.parametrize(
    ("mode", "options", "name"),
    [
        ("RGB", {"compression": "zstd"}, "Zstandard compression"),
        ("RGB", {"compression": "lzma"}, "LZMA compression"),
        ("YCbCr", {}, "YCbCr colors"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(
    run: Run, tmp_path: Path, mode: str, options: dict[str, Any], name: str
) -> None:
    four_colors(120, 80).convert(mode).save(tmp_path / "in.tif", **options)
    with pytest.raises(UnsupportedFormatError, match=name):
        run(tmp_path / "in.tif", STEP)


def tiled(path: Path) -> bytearray:
    """Write noise in tiles of 64 × 64, and return the file; its last tag is unknown to libtiff, which is harmless."""
    image = pyvips.Image.gaussnoise(200, 150).cast("uchar").copy(interpretation="b-w")
    content = bytearray(image.tiffsave_buffer(tile=True, tile_width=64, tile_height=64, compression="deflate"))
    (directory,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, directory)
    struct.pack_into("<H", content, directory + 12 * entries - 10, 65_001)
    path.write_bytes(content)
    return content


def test_a_tiled_file_with_an_unknown_tag_is_read(run: Run, tmp_path: Path) -> None:
    tiled(tmp_path / "in.tif")
    assert not run(tmp_path / "in.tif", STEP).warnings


def test_a_damaged_tile_is_refused_or_accepted_with_a_warning(run: Run, tmp_path: Path) -> None:
    content = tiled(tmp_path / "in.tif")
    with Image.open(tmp_path / "in.tif") as image:
        second = image.tag_v2[324][1]  # type: ignore[attr-defined]  # TileOffsets
    content[second : second + 40] = bytes(40)
    (tmp_path / "in.tif").write_bytes(content)
    with pytest.raises(UndecodableError):
        run(tmp_path / "in.tif", STEP)
    rendered = run(tmp_path / "in.tif", STEP, on_damage="accept")
    assert [each.code for each in rendered.warnings] == [WarningCode.SOURCE_DAMAGED]


def set_tile(content: bytearray, number: int, **values: int) -> None:
    """Change the offset or the size of a tile, in the table of the first directory."""
    (directory,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, directory)
    for at in range(directory + 2, directory + 2 + 12 * entries, 12):
        tag, kind, _, table = struct.unpack_from("<HHII", content, at)
        name = {324: "offset", 325: "size"}.get(tag)
        if name in values:
            struct.pack_into(
                "<H" if kind == 3 else "<I", content, table + (2 if kind == 3 else 4) * number, values[name]
            )


def test_tiles_that_a_sparse_file_leaves_out_are_black(run: Run, tmp_path: Path) -> None:
    content = tiled(tmp_path / "in.tif")
    set_tile(content, 1, offset=0, size=0)
    (tmp_path / "in.tif").write_bytes(content)
    assert not run(tmp_path / "in.tif", {"id": "a", "action": "convert", "format": "png"}).warnings
    with Image.open(tmp_path / "a.png") as image:
        tiles = [image.crop((left, 0, left + 64, 64)).getextrema() for left in (0, 64, 128)]
    assert [tile == (0, 0) for tile in tiles] == [False, True, False]


@pytest.mark.parametrize("damage", [{"size": 0}, {"offset": 0}, {"offset": 1 << 24}], ids=str)
@pytest.mark.parametrize("sparse", [False, True])
def test_a_tile_without_data_that_has_an_offset_or_a_size_is_damage(
    run: Run, tmp_path: Path, damage: dict[str, int], sparse: bool
) -> None:
    content = tiled(tmp_path / "in.tif")
    set_tile(content, 1, **damage)
    if sparse:
        set_tile(content, 2, offset=0, size=0)
    (tmp_path / "in.tif").write_bytes(content)
    with pytest.raises(UndecodableError):
        run(tmp_path / "in.tif", STEP)


@pytest.mark.parametrize("content", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"GIF89a"])
def test_a_file_without_directory_has_no_tags(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in").write_bytes(content)
    descriptor = os.open(tmp_path / "in", os.O_RDONLY)
    try:
        assert read_file_tags(descriptor) == {}
        assert not is_sparse(descriptor)
    finally:
        os.close(descriptor)
