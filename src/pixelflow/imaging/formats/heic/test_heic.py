"""HEIC as iPhones take it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import pyvips
from PIL import Image
from tests.unit.imaging.every_format import FILES
from tests.unit.imaging.pictures import QUADRANTS, Run, corner_colors, near, upright

from pixelflow.errors import UndecodableError
from pixelflow.imaging.formats.heic.load import load
from pixelflow.imaging.formats.heic.metadata import read_metadata
from pixelflow.imaging.formats.registry import FORMATS, output_name
from pixelflow.imaging.loading import LoadOptions
from pixelflow.imaging.metadata import Metadata, with_source_metadata
from pixelflow.imaging.source_options import SourceOptions

ORIENTATION, Y_CB_CR_POSITIONING, RIGHTS = 0x0112, 0x0213, 0x8298


def test_a_turned_photo_in_display_p3_comes_out_upright_in_srgb(run: Run, tmp_path: Path) -> None:
    """The container turns it, and its EXIF data says the same once more."""
    rendered = run(FILES / "turned-p3.heic", {"id": "a", "action": "resize", "width": 60, "format": "png"})
    assert (rendered.source.width, rendered.source.height) == (120, 80)
    with Image.open(tmp_path / "a.png") as image:
        assert upright(image)
        found = corner_colors(image)
        assert "icc_profile" not in image.info
    assert all(near(found[place], color, 8) for place, color in QUADRANTS.items())


def test_the_output_is_jpeg_unless_a_step_says_otherwise(run: Run) -> None:
    rendered = run(FILES / "quadrants.heic", {"id": "a", "action": "resize", "width": 60})
    assert [output.format for output in rendered.outputs] == ["jpeg"]


@pytest.mark.parametrize("format_", ["jpeg", "png"])
def test_exif_is_kept_without_the_orientation(run: Run, tmp_path: Path, format_: str) -> None:
    run(
        FILES / "turned-p3.heic",
        {"id": "a", "action": "resize", "width": 60, "format": format_, "metadata": "all"},
        {"id": "b", "action": "resize", "width": 60, "format": format_},
    )
    with Image.open(tmp_path / output_name("a", format_)) as image:
        found = image.getexif()
        assert found[ORIENTATION] == 1
        assert found[Y_CB_CR_POSITIONING] == 1
        assert upright(image)
    with Image.open(tmp_path / output_name("b", format_)) as image:
        assert not image.getexif()


def test_texts_of_exif_and_xmp_are_fields_of_the_image() -> None:
    made = Image.Exif()
    made[ORIENTATION], made[RIGHTS] = 6, "Acme"
    for exif in (made.tobytes(), made.tobytes().removeprefix(b"Exif\0\0")):
        image = with_source_metadata(pyvips.Image.black(8, 8), exif, b"<a/>\0")
        assert Metadata.of(image).copyright == {"rights": "Acme"}
        assert image.get("xmp-data") == b"<a/>"
        assert image.get("orientation") == 1


@pytest.mark.parametrize("exif", [b"damaged", b"Exif\0\0MM\0*\xff\xff\xff\xff", bytes(70_000), b"", None])
def test_damaged_exif_is_left_out(exif: bytes | None) -> None:
    image = with_source_metadata(pyvips.Image.black(8, 8), exif, None)
    assert Metadata.of(image).copyright == {}


@pytest.mark.parametrize(
    ("major", "compatible", "expected"),
    [
        (b"heic", b"mif1", True),
        (b"mif1", b"heic", True),
        (b"heix", b"", True),
        (b"avif", b"mif1", False),
        (b"mif1", b"avif", False),
        (b"isom", b"mp42", False),
    ],
)
def test_it_is_known_by_its_brands(major: bytes, compatible: bytes, expected: bool) -> None:
    box = b"ftyp" + major + bytes(4) + compatible
    matches = FORMATS["heic"].matches
    assert matches is not None
    assert matches((len(box) + 4).to_bytes(4, "big") + box + bytes(99)) is expected


def test_an_item_whose_type_is_no_text_does_not_end_the_process(run: Run) -> None:
    """The type of the EXIF item of `turned-p3.heic`, with other bytes added at the end: found by fuzzing."""
    rendered = run(FILES / "item-type.heic", {"id": "a", "action": "resize", "width": 60, "metadata": "all"})
    assert (rendered.source.width, rendered.source.height) == (120, 80)


def test_a_picture_of_another_depth_than_stated_is_damaged(run: Run) -> None:
    """pi-heif would write behind the end of the pixels: found by fuzzing."""
    with pytest.raises(UndecodableError):
        run(FILES / "depth.heic", {"id": "a", "action": "convert", "format": "png"})


def test_ten_bits_are_kept_in_rows_with_gaps() -> None:
    descriptor = os.open(FILES / "deep.heic", os.O_RDONLY)
    image = load(descriptor, LoadOptions(SourceOptions()))
    os.close(descriptor)
    assert (image.width, image.height, image.bands, image.format) == (70, 44, 3, "ushort")
    expected = np.linspace(0, 65535, 70 * 44 * 3).reshape(44, 70, 3)
    assert np.abs(image.numpy() - expected).max() < 600


def test_only_metadata_of_the_primary_picture_are_read(tmp_path: Path) -> None:
    content = (FILES / "turned-p3.heic").read_bytes()
    file = tmp_path / "a.heic"
    expected = {content: b"II*\0", content.replace(b"cdsc\0\2\0\1\0\1", b"cdsc\0\2\0\1\0\3"): b""}
    assert len(expected) == 2
    for each, start in expected.items():
        file.write_bytes(each)
        descriptor = os.open(file, os.O_RDONLY)
        exif, xmp = read_metadata(descriptor)
        os.close(descriptor)
        assert (exif[: len(start)], xmp) == (start, b"")
        assert bool(exif) is bool(start)


def test_metadata_of_a_damaged_file_are_left_out(tmp_path: Path) -> None:
    content = (FILES / "turned-p3.heic").read_bytes()
    file = tmp_path / "a.heic"
    for length in range(0, 960, 5):
        file.write_bytes(content[:length])
        descriptor = os.open(file, os.O_RDONLY)
        read_metadata(descriptor)
        os.close(descriptor)
