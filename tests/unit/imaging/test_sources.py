"""Sources: orientations, color spaces, bit depths, damaged files, limits."""

from __future__ import annotations

import os
import struct
import sys
import tempfile
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageCms
from tests.unit.imaging.pictures import QUADRANTS, Run, corner_colors, four_colors, near, upright

from pixelflow.errors import (
    JobError,
    OutOfMemoryError,
    OutputTooLargeError,
    StepFailedError,
    TooManyPixelsError,
    TooManyScansError,
    UndecodableError,
    UnsupportedFormatError,
    WorkerUnavailableError,
)
from pixelflow.imaging.errors import map_step_errors
from pixelflow.imaging.protocol import TransformLimits
from pixelflow.imaging.source import open_source

FORMATS = ["jpeg", "png", "webp", "avif"]
SMALL = {"id": "small", "action": "resize", "width": 60, "format": "png"}
TURNS: dict[int, Any] = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a camera stores an upright picture under each EXIF orientation."""


def saved(image: Image.Image, path: Path, **options: Any) -> Path:  # noqa: ANN401 - Pillow's own options
    image.save(path, **options)
    return path


def stored_as(orientation: int, image: Image.Image, path: Path) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turn = TURNS[orientation]
    return saved(image if turn is None else image.transpose(turn), path, exif=exif, quality=95)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["jpeg", "png", "webp"])
def test_every_orientation_becomes_upright(
    run: Run, tmp_path: Path, quadrants: Image.Image, orientation: int, format_: str
) -> None:
    source = stored_as(orientation, quadrants, tmp_path / f"in.{format_}")
    rendered = run(
        source, SMALL, {"id": "marked", "action": "watermark", "format": "png", "watermark": {"text": ".", "size": 1}}
    )
    assert (rendered.source.width, rendered.source.height) == (120, 80)
    assert [(output.width, output.height) for output in rendered.outputs] == [(60, 40), (120, 80)]
    for output in rendered.outputs:
        with Image.open(tmp_path / f"{output.step_id}.png") as image:
            assert image.size == (output.width, output.height)
            assert upright(image)


@pytest.mark.parametrize("into", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_every_format_converts_to_every_format(run: Run, tmp_path: Path, source: str, into: str) -> None:
    path = tmp_path / "source"
    four_colors(120, 80).save(path, format=source)
    rendered = run(path, {**SMALL, "format": into})
    assert rendered.source.format == source
    with Image.open(tmp_path / f"small.{'jpg' if into == 'jpeg' else into}") as image:
        assert (image.format or "").lower() == into
        assert image.size == (60, 40)
        assert upright(image)


def test_a_step_without_format_keeps_the_format_of_its_input(run: Run, tmp_path: Path, quadrants: Image.Image) -> None:
    rendered = run(
        saved(quadrants, tmp_path / "in.webp"),
        {"id": "kept", "action": "resize", "width": 50},
        {"id": "first", "action": "resize", "width": 40, "format": "avif"},
        {"id": "second", "from": "first", "action": "resize", "width": 30},
    )
    assert [output.format for output in rendered.outputs] == ["webp", "avif", "avif"]


def test_cmyk_becomes_srgb(run: Run, tmp_path: Path) -> None:
    image = Image.new("CMYK", (120, 80), (0, 255, 255, 0))
    run(saved(image, tmp_path / "in.jpg", quality=95), SMALL)
    red, green, blue = corner_colors(Image.open(tmp_path / "small.png"))["northwest"]
    assert red > 200
    assert max(green, blue) < 80


def test_a_broken_profile_of_a_cmyk_source_is_ignored(run: Run, tmp_path: Path) -> None:
    image = Image.new("CMYK", (120, 80), (0, 255, 255, 0))
    run(saved(image, tmp_path / "in.jpg", quality=95, icc_profile=b"not a profile" * 20), SMALL)
    assert corner_colors(Image.open(tmp_path / "small.png"))["northwest"][0] > 200


def rgb16_png(path: Path, size: tuple[int, int], pixel: tuple[int, ...]) -> Path:
    """A 16-bit PNG, RGB or RGBA, written by hand because Pillow can't write it."""
    width, height = size
    rows = b"".join(b"\0" + struct.pack(f">{len(pixel)}H", *pixel) * width for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 16, 2 if len(pixel) == 3 else 6, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


@pytest.mark.parametrize("linear", [False, True])
def test_sixteen_bits_become_eight(run: Run, tmp_path: Path, linear: bool) -> None:
    source = rgb16_png(tmp_path / "in.png", (120, 80), (0x8000, 0xFFFF, 0x2000, 0x8000))
    run(source, {**SMALL, "linear": linear})
    with Image.open(tmp_path / "small.png") as image:
        assert image.mode == "RGBA"
        assert near(image.getpixel((30, 20)), (0x80, 0xFF, 0x20, 0x80), 2)  # type: ignore[arg-type]


def test_gray_and_palette_pictures_are_read(run: Run, tmp_path: Path, quadrants: Image.Image) -> None:
    run(saved(Image.new("L", (120, 80), 77), tmp_path / "gray.png"), SMALL)
    assert corner_colors(Image.open(tmp_path / "small.png"))["southeast"] == (77, 77, 77)
    run(saved(quadrants.quantize(16), tmp_path / "palette.png"), SMALL)
    assert upright(Image.open(tmp_path / "small.png"))


def test_a_wide_gamut_profile_is_converted_to_srgb(run: Run, tmp_path: Path) -> None:
    """Display P3's (200, 100, 50) is (215, 93, 31) in sRGB, by their primaries (SMPTE EG 432-1, IEC 61966-2-1)."""
    black = pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb")
    profile = black.icc_transform("p3", input_profile="srgb").get("icc-profile-data")
    source = saved(Image.new("RGB", (120, 80), (200, 100, 50)), tmp_path / "in.jpg", quality=100, icc_profile=profile)
    run(source, SMALL)
    with Image.open(tmp_path / "small.png") as image:
        assert near(corner_colors(image)["northwest"], (215, 93, 31), 3)
        assert "icc_profile" not in image.info


def test_transparency_is_flattened_over_the_background_if_the_format_has_none(run: Run, tmp_path: Path) -> None:
    source = saved(Image.new("RGBA", (120, 80), (255, 0, 0, 128)), tmp_path / "in.png")
    run(source, {**SMALL, "format": "jpeg", "background": "#0000ff"}, {**SMALL, "id": "clear", "format": "webp"})
    assert near(corner_colors(Image.open(tmp_path / "small.jpg"))["northwest"], (128, 0, 127))
    with Image.open(tmp_path / "clear.webp") as image:
        assert image.mode == "RGBA"
        assert near(image.getpixel((30, 20)), (255, 0, 0, 128))  # type: ignore[arg-type]


def test_colors_of_transparent_pixels_do_not_bleed(run: Run, tmp_path: Path) -> None:
    image = Image.new("RGBA", (128, 128), (0, 255, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 63, 128))
    run(saved(image, tmp_path / "in.png"), {**SMALL, "width": 16})
    with Image.open(tmp_path / "small.png") as small:
        edge = [small.getpixel((x, 8)) for x in range(16)]
    assert all(green < 8 for red, green, blue, alpha in edge if alpha > 8)  # type: ignore[misc]


@pytest.mark.parametrize("into", FORMATS)
def test_outputs_contain_no_metadata(run: Run, tmp_path: Path, quadrants: Image.Image, into: str) -> None:
    exif = Image.Exif()
    exif[0x010F] = "SECRET-CAMERA"
    exif.get_ifd(0x8825)[1] = "N"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    comment = b"SECRET-COMMENT"
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>SECRET-XMP</x:xmpmeta>"
    source = saved(quadrants, tmp_path / "in.jpg", exif=exif, icc_profile=profile, comment=comment, xmp=xmp)
    assert source.read_bytes().count(b"SECRET") == 3
    run(source, {**SMALL, "format": into})
    output = tmp_path / f"small.{'jpg' if into == 'jpeg' else into}"
    assert b"SECRET" not in output.read_bytes()
    with Image.open(output) as image:
        assert not dict(image.getexif())
        assert "icc_profile" not in image.info


@pytest.mark.parametrize(
    "head", [b"", b"hello, this is text\n" * 50, b"PK\x03\x04" + bytes(40), b"<!doctype html><svg/>", bytes(100)]
)
def test_an_unsupported_file_is_rejected_as_unsupported_format(run: Run, tmp_path: Path, head: bytes) -> None:
    source = tmp_path / "in.jpg"
    source.write_bytes(head)
    with pytest.raises(UnsupportedFormatError):
        run(source, SMALL)


def test_a_format_whose_extra_is_missing_is_unsupported_and_the_extra_is_named(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pixelflow.imaging.formats.heic.load", None)
    source = tmp_path / "in.avif"
    source.write_bytes(struct.pack(">I", 24) + b"ftypheic\0\0\0\0mif1heic" + bytes(100))
    with pytest.raises(UnsupportedFormatError, match="HEIC needs the extra `heic`"):
        run(source, SMALL)


DAMAGING_STEPS = [
    pytest.param([SMALL], id="streamed"),
    pytest.param([SMALL, {**SMALL, "id": "other"}], id="in memory"),
    pytest.param([{**SMALL, "height": 10, "fit": "cover", "gravity": "north"}], id="cropped"),
    pytest.param([{"id": "m", "action": "watermark", "watermark": {"text": "x"}}], id="watermarked"),
]


@pytest.mark.parametrize("steps", DAMAGING_STEPS)
@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("kept", [0.1, 0.6, 0.9])
def test_a_truncated_picture_is_undecodable(
    run: Run, tmp_path: Path, format_: str, kept: float, steps: list[dict[str, Any]]
) -> None:
    path = tmp_path / "source"
    Image.effect_noise((300, 240), 80).convert("RGB").save(path, format=format_)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(UndecodableError) as raised:
        run(path, *steps)
    assert str(tmp_path) not in raised.value.detail


@pytest.mark.parametrize("format_", FORMATS)
def test_no_python_code_runs_on_the_thread_that_computes_pixels(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture, format_: str
) -> None:
    """A garbage collection there could dispose of the image that is being computed."""
    path = tmp_path / "source"
    Image.effect_noise((300, 240), 80).convert("RGB").save(path, format=format_)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    with caplog.at_level(1, "pyvips"), pytest.raises(UndecodableError):
        run(path, {**SMALL, "height": 10, "fit": "cover", "gravity": "north"})
    assert not [record for record in caplog.records if record.threadName != "MainThread"]


def test_too_many_pixels_are_rejected_before_decoding(run: Run, tmp_path: Path) -> None:
    """The file ends after its header: decoding would report damage."""
    source = saved(Image.new("RGB", (4000, 3000)), tmp_path / "in.png")
    source.write_bytes(source.read_bytes()[:200])
    with pytest.raises(TooManyPixelsError, match=r"4000 × 3000"):
        run(source, SMALL, source_pixels=11_999_999)
    with pytest.raises(UndecodableError):
        run(source, SMALL, source_pixels=12_000_000)


def test_only_frames_that_are_decoded_count_against_the_pixel_limit(run: Run, tmp_path: Path) -> None:
    frames = [four_colors(120, 80), *(Image.new("RGB", (120, 80), (9 * i, 0, 0)) for i in range(4))]
    source = saved(frames[0], tmp_path / "in.webp", save_all=True, append_images=frames[1:], lossless=True)
    animated = {**SMALL, "format": "webp"}
    with pytest.raises(TooManyPixelsError, match="5 frames"):
        run(source, animated, source_pixels=5 * 120 * 80 - 1)
    run(source, animated, source_pixels=5 * 120 * 80)
    run(source, SMALL, source_pixels=120 * 80)
    assert upright(Image.open(tmp_path / "small.png"))


def test_all_other_decoders_of_libvips_are_disabled(tmp_path: Path) -> None:
    for name, content in [("a.csv", b"1,2\n"), ("a.mat", b"1 1\n1\n"), ("a.svg", b"<svg/>"), ("a.v", bytes(99))]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(pyvips.Error):
            pyvips.Image.new_from_file(str(tmp_path / name))
    (tmp_path / "a.tif").write_bytes(b"II*\0")
    with pytest.raises(pyvips.Error, match="not a known file format"):
        pyvips.Image.new_from_file(str(tmp_path / "a.tif"))


@pytest.mark.parametrize(
    ("error", "mapped"),
    [
        (pyvips.Error("unable to call", "VipsImage: out of memory -- size == 286MB"), OutOfMemoryError),
        (MemoryError(), OutOfMemoryError),
        (pyvips.Error("unable to call", "text: no text to render"), StepFailedError),
    ],
)
def test_libvips_errors_are_mapped_to_job_errors(error: Exception, mapped: type[JobError]) -> None:
    with pytest.raises(mapped) as raised, map_step_errors("a", lambda: None):
        raise error
    assert raised.value.step_id == "a"


@pytest.mark.parametrize("reason", ["No space left on device", "Disk quota exceeded"])
def test_a_full_disk_is_the_fault_of_the_worker(reason: str) -> None:
    with pytest.raises(WorkerUnavailableError), map_step_errors("a", lambda: None):
        raise pyvips.Error("unable to call", f"unix error: {reason}")


def test_a_full_disk_is_not_reported_as_a_fault_of_the_source(
    run: Run, tmp_path: Path, quadrants: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", partial(Path("/dev/full").open, "wb"))
    with pytest.raises(WorkerUnavailableError):
        run(saved(quadrants, tmp_path / "in.jpg"), SMALL)


def test_a_jpeg_with_too_many_scans_is_rejected_before_decoding(run: Run, tmp_path: Path) -> None:
    """Each scan refines one bit of one coefficient and costs a pass over the whole picture."""
    source = saved(four_colors(64, 48), tmp_path / "in.jpg", progressive=True)
    content = source.read_bytes()
    first = content.index(b"\xff\xda")
    source.write_bytes(content[:first] + content[first:-2] * 60 + content[-2:])
    with pytest.raises(TooManyScansError, match="500"):
        run(source, SMALL)


def test_enlarging_steps_beyond_the_pixels_of_a_job_are_rejected_before_decoding(run: Run, tmp_path: Path) -> None:
    source = saved(Image.new("L", (1, 1)), tmp_path / "in.png")
    steps = [{**SMALL, "id": f"s{i}", "width": 7000, "height": 7000, "enlarge": True} for i in range(32)]
    with pytest.raises(OutputTooLargeError, match="400000000") as raised:
        run(source, *steps)
    assert raised.value.step_id == "s8"


def test_quadrant_colors_distinguish_orientations() -> None:
    colors = list(QUADRANTS.values())
    assert not any(near(a, b, 40) for i, a in enumerate(colors) for b in colors[i + 1 :])


def test_a_step_on_the_result_of_a_cmyk_source_does_not_crash(run: Run, tmp_path: Path) -> None:
    """Libvips gives its own CMYK profile to the converted picture; applying that again read freed memory."""
    source = saved(Image.new("CMYK", (400, 300), (10, 200, 30, 0)), tmp_path / "in.jpg")
    rendered = run(source, SMALL, {"id": "marked", "from": "small", "action": "watermark", "watermark": {"text": "x"}})
    assert len(rendered.outputs) == 2


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_the_stream_of_the_header_is_decoded_once_and_others_after_it(tmp_path: Path, suffix: str) -> None:
    path = saved(Image.effect_noise((200, 150), 90).convert("RGB"), tmp_path / f"in.{suffix}")
    limits = TransformLimits(max_source_pixels=10**6, max_output_pixels=10**6, max_output_bytes=10**6)
    descriptor = os.open(path, os.O_RDONLY)
    source = open_source(descriptor, limits)
    decoded = [source.decode().first.image.write_to_memory() for _ in range(3)]
    assert decoded == [pyvips.Image.new_from_array(np.asarray(Image.open(path))).write_to_memory()] * 3
    assert open_source(descriptor, limits).accepting_damage().decode().first.image.write_to_memory() == decoded[0]
    if suffix == "jpg":
        assert open_source(descriptor, limits).decode(2).first.image.width == 100
    os.close(descriptor)
