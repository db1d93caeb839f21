"""Camera RAW: its preview where that is large enough, otherwise developed."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.unit.imaging.every_format import dng
from tests.unit.imaging.pictures import Run, four_colors, near

from pixelflow.errors import UndecodableError
from pixelflow.imaging.formats.registry import FORMATS

BLUE = (20, 20, 200)
STEP: dict[str, Any] = {"id": "a", "action": "resize", "width": 60, "format": "png"}


def _rendered(run: Run, folder: Path, width: int, **made: Any) -> tuple[Image.Image, Any]:  # noqa: ANN401 - of `dng`
    (folder / "in.dng").write_bytes(dng(**made))
    rendered = run(folder / "in.dng", {**STEP, "width": width})
    with Image.open(folder / "a.png") as image:
        return image.convert("RGB"), rendered.source


def _is_preview(image: Image.Image) -> bool:
    return near(image.getpixel((image.width // 2, image.height // 2)), BLUE)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("width", "preview", "expected"),
    [
        (120, (240, 160), True),  # the photo has 480 × 320
        (120, (480, 320), True),
        (240, (240, 160), False),
        (120, (100, 67), False),
        (120, (240, 240), False),  # cut otherwise
        (120, (960, 640), False),  # larger than the photo, which alone was checked against the limits
    ],
)
def test_the_preview_is_used_if_it_is_large_enough(
    run: Run, tmp_path: Path, width: int, preview: tuple[int, int], expected: bool
) -> None:
    image, source = _rendered(run, tmp_path, width, size=(480, 320), preview=Image.new("RGB", preview, BLUE))
    assert (source.width, source.height) == (480, 320)
    assert _is_preview(image) is expected


@pytest.mark.parametrize("width", [40, 80])
def test_preview_and_developed_photo_are_turned_alike(run: Run, tmp_path: Path, width: int) -> None:
    preview = four_colors(60, 40)
    image, source = _rendered(run, tmp_path, width, orientation=6, preview=preview)
    assert (source.width, source.height) == (80, 120)
    assert image.size == (width, width * 3 // 2)
    corners = [image.getpixel((x * width // 4, y * width // 4)) for x, y in ((1, 1), (3, 1))]
    assert near(corners[0], (30, 30, 220), 45)  # type: ignore[arg-type]
    assert near(corners[1], (220, 30, 30), 45)  # type: ignore[arg-type]


def test_a_photo_without_its_data_is_undecodable(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.dng").write_bytes(dng()[:4000])
    with pytest.raises(UndecodableError):
        run(tmp_path / "in.dng", {**STEP, "width": 120})


def _directory(order: str, *entries: tuple[int, int, int]) -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    rows = b"".join(
        struct.pack(f"{order}HHI", tag, kind, 1) + struct.pack(f"{order}{'H2x' if kind == 3 else 'I'}", value)
        for tag, kind, value in entries
    )
    return mark + struct.pack(f"{order}IH", 8, len(entries)) + rows + bytes(4)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (_directory("<", (50706, 4, 1)), "raw"),
        (_directory(">", (50706, 4, 1)), "raw"),
        (_directory("<", (254, 4, 1), (271, 2, 99), (330, 4, 99)), "raw"),  # NEF, ARW, PEF
        (_directory("<", (262, 3, 32803)), "raw"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(4) + b"\1\0" + bytes(16), "raw"),  # CR2
        (b"\0\0\0\x18ftypcrx " + bytes(12), "raw"),
        (b"FUJIFILMCCD-RAW " + bytes(9), "raw"),
        (_directory("<", (254, 4, 0), (271, 2, 99), (330, 4, 99)), "tiff"),  # with smaller versions
        (_directory("<", (256, 3, 9)), "tiff"),
        (b"II*\0" + bytes(4), "tiff"),
        (b"II*\0\xff\xff\xff\xff", "tiff"),
        (b"II*\0\x08\0\0\0\xff\xff", "tiff"),
    ],
)
def test_camera_raw_is_distinguished_from_tiff_by_the_first_directory(head: bytes, expected: str) -> None:
    found = [name for name in ("raw", "tiff") if (matches := FORMATS[name].matches) and matches(head)]
    assert found == [expected]
