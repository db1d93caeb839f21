"""PDF: one page, at the size that is needed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image
from tests.unit.imaging.pictures import Run, four_colors, upright

from pixelflow.errors import TooManyPixelsError, UndecodableError
from pixelflow.imaging.formats.pdf import load
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.loading import LoadOptions
from pixelflow.imaging.source_options import SourceOptions

STEP = {"id": "a", "action": "resize", "width": 120, "format": "png"}


def _document(path: Path, *, points: tuple[int, int] = (60, 40)) -> Path:
    """Two pages: four colors, and black with another size."""
    pages = [four_colors(points[0], points[1]), Image.new("RGB", (30, 60), "black")]
    pages[0].save(path, "PDF", save_all=True, append_images=pages[1:], resolution=72.0)
    return path


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (SourceOptions(), (120, 80)),
        (SourceOptions(density=72), (60, 40)),
        (SourceOptions(frame=1), (60, 120)),
        (SourceOptions(frame=1, density=288), (120, 240)),
    ],
)
def test_page_and_density_are_chosen_by_the_job(tmp_path: Path, options: SourceOptions, size: tuple[int, int]) -> None:
    descriptor = os.open(_document(tmp_path / "in.pdf"), os.O_RDONLY)
    try:
        header = load.header(descriptor, LoadOptions(options))
        image = load.load(descriptor, LoadOptions(options)).copy_memory()
        larger = load.load(descriptor, LoadOptions(options, shrink=0.5))
    finally:
        os.close(descriptor)
    assert (header.size, header.frames) == (Size(*size), 2)
    assert (image.width, image.height) == size
    assert (larger.width, larger.height) == (2 * size[0], 2 * size[1])
    assert upright(Image.fromarray(image.numpy())) is (options.frame is None)


def test_a_page_is_drawn_sharp_when_it_is_enlarged(run: Run, tmp_path: Path) -> None:
    text = b"BT /F 24 Tf 10 10 Td (Hi) Tj ET"
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 60 40] /Contents 4 0 R /Resources << /Font << /F 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(text), text),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    objects = b"".join(b"%d 0 obj\n%s\nendobj\n" % (number, part) for number, part in enumerate(parts, 1))
    (tmp_path / "in.pdf").write_bytes(b"%PDF-1.4\n" + objects + b"trailer << /Root 1 0 R /Size 6 >>\n%%EOF")
    run(tmp_path / "in.pdf", {**STEP, "width": 1200, "enlarge": True})
    with Image.open(tmp_path / "a.png") as image:
        gray = image.convert("L").histogram()
    inked, blurred = sum(gray[:64]), sum(gray[64:192])
    assert inked > 20_000
    assert blurred < inked / 5


def test_the_size_is_limited_before_a_page_is_drawn(run: Run, tmp_path: Path) -> None:
    with pytest.raises(TooManyPixelsError):
        run(_document(tmp_path / "in.pdf", points=(4000, 4000)), STEP, source_pixels=60_000_000)


@pytest.mark.parametrize(
    "content", [b"%PDF-1.7\n", b"%PDF-1.7\n1 0 obj << /Type /Catalog >> endobj trailer << /Root 1 0 R >>"]
)
def test_damage_is_undecodable(run: Run, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in.pdf").write_bytes(content)
    with pytest.raises(UndecodableError):
        run(tmp_path / "in.pdf", STEP)
