"""Icons: the largest image, by its own header."""

from __future__ import annotations

import io
import random
import struct
from pathlib import Path

import pytest
from PIL import Image
from tests.unit.imaging.pictures import Run, four_colors, upright

from pixelflow.errors import TooManyPixelsError, UndecodableError
from pixelflow.imaging.formats.ico.directory import largest
from pixelflow.imaging.protocol import WarningCode

STEP = {"id": "a", "action": "resize", "width": 60, "format": "png"}


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _icon(*images: bytes, declared: int = 16) -> bytes:
    """An icon whose directory declares every image to have this size."""
    head, body, at = struct.pack("<HHH", 0, 1, len(images)), b"", 6 + 16 * len(images)
    for image in images:
        head += struct.pack("<BBBBHHII", declared, declared, 0, 0, 1, 32, len(image), at + len(body))
        body += image
    return head + body


@pytest.mark.parametrize("kind", ["png", "bmp"])
def test_the_largest_image_is_used(run: Run, tmp_path: Path, kind: str) -> None:
    sizes = [(30, 20), (120, 80), (60, 40)]
    four_colors(120, 80).convert("RGBA").save(tmp_path / "in.ico", sizes=sizes, bitmap_format=kind)
    rendered = run(tmp_path / "in.ico", STEP)
    assert (rendered.source.width, rendered.source.height) == (120, 80)
    assert upright(Image.open(tmp_path / "a.png"))


def test_a_bitmap_is_transparent_as_its_mask_says(run: Run, tmp_path: Path) -> None:
    image = Image.new("RGBA", (48, 48), (200, 20, 20, 255))
    image.paste((0, 0, 0, 0), (0, 0, 24, 48))
    image.save(tmp_path / "in.ico", sizes=[(48, 48)], bitmap_format="bmp")
    run(tmp_path / "in.ico", {**STEP, "width": 48})
    with Image.open(tmp_path / "a.png") as output:
        assert [output.getpixel((x, 24))[3] for x in (4, 40)] == [0, 255]  # type: ignore[index]


def test_an_image_that_is_larger_than_the_directory_says_is_limited(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.ico").write_bytes(_icon(_png(Image.new("L", (3000, 3000)))))
    with pytest.raises(TooManyPixelsError, match="3000 × 3000"):
        run(tmp_path / "in.ico", STEP, source_pixels=8_000_000)


@pytest.mark.parametrize(
    "content",
    [
        _icon(_png(four_colors(12, 8)).replace(b"\0\0\0\x0c\0\0\0\x08", bytes(8))),
        b"\0\0\1\0\1\0" + bytes(3),
        _icon(b"\x28\0\0\0" + bytes(40)),
        _icon(b"")[:-4] + b"\xff\xff\xff\xff",
        _icon(_png(four_colors(12, 8))[:60]),
    ],
)
def test_damage_is_undecodable(run: Run, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in.ico").write_bytes(content.ljust(10, b"\0"))
    with pytest.raises(UndecodableError):
        run(tmp_path / "in.ico", STEP)


def test_the_directory_is_read_no_further_than_256_images() -> None:
    png = _png(four_colors(12, 8))
    assert largest(_icon(*[png] * 300)).width == 12


@pytest.mark.parametrize("kind", ["png", "bmp"])
@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_what_a_truncated_icon_has_is_shown_if_the_job_accepts_damage(
    run: Run, tmp_path: Path, kind: str, mode: str
) -> None:
    rng = random.Random(1)  # noqa: S311 - the same in every run
    noise = Image.frombytes("RGB", (240, 180), rng.randbytes(240 * 180 * 3)).point(lambda value: 96 + value // 4)
    noise.convert(mode).save(tmp_path / "in.ico", sizes=[(240, 180)], bitmap_format=kind)
    content = (tmp_path / "in.ico").read_bytes()
    (tmp_path / "in.ico").write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(UndecodableError):
        run(tmp_path / "in.ico", STEP)
    rendered = run(tmp_path / "in.ico", STEP, on_damage="accept")
    assert [warning.code for warning in rendered.warnings] == [WarningCode.SOURCE_DAMAGED]
    shown = Image.open(tmp_path / "a.png").convert("RGB")
    kept = 10 if kind == "png" else shown.height - 10  # a bitmap begins with its last row
    assert min(shown.getpixel((30, kept))) > 60  # type: ignore[arg-type]
