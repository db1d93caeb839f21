"""HEIC as iPhones take it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from tests.unit.imaging.every_format import FILES
from tests.unit.imaging.pictures import QUADRANTS, Run, corner_colors, near, upright

from pixelflow.imaging.formats.registry import FORMATS


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
