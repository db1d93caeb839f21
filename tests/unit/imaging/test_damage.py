"""Damaged sources: what lacks pixels is refused, or shown as far as possible; harmless faults don't matter."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
import pyvips
from PIL import Image, ImageFile
from tests.unit.imaging.pictures import Run, four_colors, near, upright

from pixelflow.errors import UndecodableError
from pixelflow.imaging import pillow
from pixelflow.imaging.protocol import Rendered, WarningCode

SIZE = (320, 240)
END = b"\xff\xd9"
STEPS = [
    pytest.param([{"id": "out", "action": "resize", "width": 320, "format": "png"}], id="streamed"),
    pytest.param([{"id": "out", "action": "resize", "width": 32, "format": "png"}], id="reduced by the decoder"),
    pytest.param(
        [
            {"id": "big", "action": "resize", "width": 200, "format": "png"},
            {"id": "out", "action": "resize", "width": 100, "format": "png"},
        ],
        id="in memory",
    ),
    pytest.param(
        [
            {
                "id": "out",
                "action": "resize",
                "width": 96,
                "height": 24,
                "fit": "cover",
                "gravity": "north",
                "format": "png",
            }
        ],
        id="cropped",
    ),
]


def noise() -> Image.Image:
    """Every part of the data holds pixels that no other part predicts."""
    values = random.Random(1).randbytes(SIZE[0] * SIZE[1] * 3)  # noqa: S311 - the same in every run
    return Image.frombytes("RGB", SIZE, values).point(lambda value: 96 + value // 4)


def encoded(format_: str, image: Image.Image | None = None, **options: Any) -> bytes:  # noqa: ANN401 - Pillow's own
    content = io.BytesIO()
    (image or noise()).save(content, format_, **options)
    return content.getvalue()


def jpeg(image: Image.Image | None = None, **options: Any) -> bytes:  # noqa: ANN401 - Pillow's own
    return encoded("JPEG", image, quality=90, subsampling=0, **options)


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 3
    return exif


def cut(content: bytes, percent: int) -> bytes:
    return content[: len(content) * percent // 100]


def half_zeros(content: bytes) -> bytes:
    return cut(content, 50) + bytes(len(content) - len(content) // 2)


def with_hole(content: bytes) -> bytes:
    return cut(content, 40) + content[len(content) * 60 // 100 :]


def with_stray_bytes(content: bytes) -> bytes:
    """Bytes between the segments of a JPEG's header, which libjpeg skips with a warning."""
    after_first = 4 + struct.unpack(">H", content[4:6])[0]
    return content[:after_first] + b"\0\1\2\3" + content[after_first:]


def with_adobe_transform(content: bytes, transform: int) -> bytes:
    segment = b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform)
    return content[:2] + b"\xff\xee" + struct.pack(">H", len(segment) + 2) + segment + content[2:]


def with_jfif_version(content: bytes, major: int) -> bytes:
    place = content.index(b"JFIF\0") + 5
    return content[:place] + bytes((major,)) + content[place + 1 :]


def interlaced_png() -> bytes:
    raw = pyvips.Image.new_from_memory(noise().tobytes(), *SIZE, 3, "uchar")
    content: bytes = raw.copy(interpretation="srgb").pngsave_buffer(interlace=True)
    return content


DAMAGED: dict[str, Callable[[], bytes]] = {
    "JPEG 60 % and an end, turned": lambda: cut(jpeg(exif=turned()), 60) + END,
    "JPEG 60 %": lambda: cut(jpeg(), 60),
    "JPEG 99 %": lambda: cut(jpeg(), 99),
    "JPEG, 9 bytes less": lambda: jpeg()[:-9],
    "JPEG, progressive, 60 % and an end": lambda: cut(jpeg(progressive=True), 60) + END,
    "JPEG, progressive, 99 %": lambda: cut(jpeg(progressive=True), 99),
    "JPEG, filled up with zeros": lambda: half_zeros(jpeg()),
    "JPEG, filled up with zeros, flat": lambda: half_zeros(jpeg(Image.new("L", (2000, 1500), 90), optimize=True)),
    "JPEG with a hole": lambda: with_hole(jpeg()),
    "JPEG with a hole between restart markers": lambda: with_hole(jpeg(restart_marker_rows=1)),
    "JPEG 60 % and an end, stray bytes": lambda: with_stray_bytes(cut(jpeg(), 60)) + END,
    "JPEG 60 %, stray bytes": lambda: with_stray_bytes(cut(jpeg(), 60)),
    "JPEG 60 % and an end, unknown Adobe transform": lambda: with_adobe_transform(cut(jpeg(), 60), 9) + END,
    "JPEG 60 % and an end, unknown JFIF version": lambda: with_jfif_version(cut(jpeg(), 60), 2) + END,
    "PNG 60 %": lambda: cut(encoded("PNG"), 60),
    "PNG with a hole": lambda: with_hole(encoded("PNG")),
    "PNG, filled up with zeros": lambda: half_zeros(encoded("PNG")),
    "PNG, interlaced, 60 %": lambda: cut(interlaced_png(), 60),
    "PNG, interlaced, with a hole": lambda: with_hole(interlaced_png()),
    "BMP 60 %": lambda: cut(encoded("BMP"), 60),
    "PPM 60 %": lambda: cut(encoded("PPM"), 60),
    "TGA 60 %": lambda: cut(encoded("TGA"), 60),
    "GIF 60 %": lambda: cut(encoded("GIF"), 60),
    "GIF, filled up with zeros": lambda: half_zeros(encoded("GIF")),
    "GIF, filled up with zeros, flat": lambda: half_zeros(encoded("GIF", four_colors(*SIZE))),
    "TIFF 60 %": lambda: cut(encoded("TIFF"), 60),
    "WebP 60 %": lambda: cut(encoded("WEBP"), 60),
    "WebP, filled up with zeros": lambda: half_zeros(encoded("WEBP")),
    "WebP, lossless, 60 %": lambda: cut(encoded("WEBP", lossless=True), 60),
    "WebP, lossless, filled up with zeros": lambda: half_zeros(encoded("WEBP", lossless=True)),
}


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("name", DAMAGED)
def test_a_source_that_lacks_pixels_is_refused(
    run: Run, tmp_path: Path, name: str, steps: list[dict[str, Any]]
) -> None:
    source = tmp_path / "in"
    source.write_bytes(DAMAGED[name]())
    with pytest.raises(UndecodableError):
        run(source, *steps)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("name", DAMAGED)
def test_a_source_that_lacks_pixels_can_be_accepted_with_a_warning(
    run: Run, tmp_path: Path, name: str, steps: list[dict[str, Any]]
) -> None:
    source = tmp_path / "in"
    source.write_bytes(DAMAGED[name]())
    rendered = run(source, *steps, on_damage="accept")
    assert [warning.code for warning in rendered.warnings] == [WarningCode.SOURCE_DAMAGED]
    assert [output.offset for output in rendered.outputs] == [0, rendered.outputs[0].bytes][: len(steps)]
    assert [time.step_id for time in rendered.times[:1]] == ["source"]
    assert len(rendered.times) == len(steps) + 1
    with Image.open(tmp_path / "out.png") as image:
        width = steps[-1]["width"]
        assert image.size == (width, steps[-1].get("height", width * SIZE[1] // SIZE[0]))
        image.load()


def test_an_accepted_interlaced_png_shows_what_its_first_passes_have(run: Run, tmp_path: Path) -> None:
    raw = pyvips.Image.new_from_memory(four_colors(*SIZE).tobytes(), *SIZE, 3, "uchar")
    content = raw.copy(interpretation="srgb").pngsave_buffer(interlace=True)
    source = tmp_path / "in"
    source.write_bytes(content[:-40])
    run(source, {"id": "out", "action": "resize", "width": 320, "format": "png"}, on_damage="accept")
    with Image.open(tmp_path / "out.png") as output:
        assert output.convert("RGB").getpixel((0, 0)) == (220, 30, 30)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_an_accepted_source_shows_the_pixels_that_are_there(run: Run, tmp_path: Path, format_: str) -> None:
    source = tmp_path / "in"
    image = Image.new("RGB", SIZE)
    image.paste(noise(), (0, 100))
    image.paste((200, 40, 40), (0, 0, 320, 100))
    source.write_bytes(cut(encoded(format_, image, quality=90), 50))
    run(source, {"id": "out", "action": "resize", "width": 320, "format": "png"}, on_damage="accept")
    with Image.open(tmp_path / "out.png") as output:
        assert near(output.convert("RGB").getpixel((160, 50)), (200, 40, 40), 8)  # type: ignore[arg-type]


HARMLESS: dict[str, Callable[[bytes], bytes]] = {
    "no end marker": lambda content: content[:-2],
    "half an end marker": lambda content: content[:-1],
    "zeros instead of the end marker": lambda content: content[:-2] + bytes(5000),
    "zeros after the end marker": lambda content: content + bytes(5000),
    "a trailer": lambda content: content + b"trailer" * 900,
    "stray bytes": with_stray_bytes,
    "stray bytes and no end marker": lambda content: with_stray_bytes(content)[:-2],
    "an unknown Adobe transform": lambda content: with_adobe_transform(content, 9),
    "an unknown Adobe transform and no end marker": lambda content: with_adobe_transform(content, 9)[:-2],
    "an unknown JFIF version": lambda content: with_jfif_version(content, 2)[:-2],
}


def assert_whole(rendered: Rendered, output: Path) -> None:
    assert rendered.warnings == []
    with Image.open(output) as image:
        assert upright(image) or image.size == (96, 24)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
@pytest.mark.parametrize("name", HARMLESS)
def test_a_jpeg_that_has_all_pixels_is_used(
    run: Run, tmp_path: Path, name: str, progressive: bool, steps: list[dict[str, Any]]
) -> None:
    source = tmp_path / "in"
    source.write_bytes(HARMLESS[name](jpeg(four_colors(*SIZE), progressive=progressive)))
    for on_damage in ("refuse", "accept"):
        assert_whole(run(source, *steps, on_damage=on_damage), tmp_path / "out.png")


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_gray_and_cmyk_jpegs_without_an_end_marker_are_used(run: Run, tmp_path: Path, mode: str) -> None:
    source = tmp_path / "in"
    image = Image.new(mode, SIZE, 77 if mode == "L" else (0, 255, 255, 0))
    source.write_bytes(with_stray_bytes(jpeg(image))[:-2])
    assert run(source, {"id": "out", "action": "resize", "width": 32, "format": "png"}).warnings == []


def chunk(kind: bytes, body: bytes, *, crc: int | None = None) -> bytes:
    right = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", right)


PNG_HARMLESS: dict[str, Callable[[bytes], bytes]] = {
    "no IEND": lambda content: content[:-12],
    "half an IEND": lambda content: content[:-6],
    "a wrong checksum of a text": lambda content: content[:33] + chunk(b"tEXt", b"a\0b", crc=1) + content[33:],
    "bytes after IEND": lambda content: content + b"trailer" * 900,
}


@pytest.mark.parametrize("name", PNG_HARMLESS)
def test_a_png_that_has_all_pixels_is_used(run: Run, tmp_path: Path, name: str) -> None:
    source = tmp_path / "in"
    source.write_bytes(PNG_HARMLESS[name](encoded("PNG", four_colors(*SIZE))))
    rendered = run(source, {"id": "out", "action": "resize", "width": 320, "format": "png"})
    assert_whole(rendered, tmp_path / "out.png")


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(
        name + struct.pack("<I", len(payload)) + payload + bytes(len(payload) % 2) for name, payload in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("trailer", [b"", b"trailer" * 900])
def test_a_webp_without_the_last_byte_of_padding_is_used(run: Run, tmp_path: Path, trailer: bytes) -> None:
    content = encoded("WEBP", four_colors(*SIZE))
    payload = content[20 : 20 + struct.unpack("<I", content[16:20])[0]]
    canvas = struct.pack("<I", 8) + (SIZE[0] - 1).to_bytes(3, "little") + (SIZE[1] - 1).to_bytes(3, "little")
    whole = riff((b"VP8X", canvas), (b"VP8 ", payload), (b"EXIF", b"1" * 301))
    source = tmp_path / "in"
    source.write_bytes(whole + trailer if trailer else whole[:-1])
    assert_whole(run(source, {"id": "out", "action": "resize", "width": 320, "format": "png"}), tmp_path / "out.png")


def test_a_webp_whose_metadata_end_with_zeros_is_used(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "in"
    four_colors(*SIZE).save(source, "WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + bytes(4000))
    assert_whole(run(source, {"id": "out", "action": "resize", "width": 320, "format": "png"}), tmp_path / "out.png")


def test_a_file_without_any_pixel_is_refused_even_if_damage_is_accepted(run: Run, tmp_path: Path) -> None:
    for format_ in ("JPEG", "PNG", "WEBP", "AVIF"):
        source = tmp_path / "in"
        source.write_bytes(encoded(format_)[:20])
        with pytest.raises(UndecodableError):
            run(source, {"id": "out", "action": "resize", "width": 320, "format": "png"}, on_damage="accept")


@pytest.mark.parametrize("before", [False, True])
def test_a_damaged_source_leaves_pillow_as_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, before: bool
) -> None:
    """A child serves many jobs, and Pillow has one flag for all."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", before)
    seen: list[bool] = []

    def plugin(_: IO[bytes]) -> ImageFile.ImageFile:
        seen.append(ImageFile.LOAD_TRUNCATED_IMAGES)
        raise SyntaxError

    (tmp_path / "source").touch()
    with (tmp_path / "source").open("rb") as file, pytest.raises(SyntaxError):
        pillow.load(file.fileno(), plugin, tolerant=not before)
    assert (seen, ImageFile.LOAD_TRUNCATED_IMAGES) == ([not before], before)
