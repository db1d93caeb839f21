"""Every format that PixelFlow reads or writes, by one table."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image
from tests.unit.imaging.every_format import SOURCES
from tests.unit.imaging.pictures import QUADRANTS, Run, corner_colors, four_colors, near, upright

from pixelflow.errors import TooManyPixelsError, UndecodableError
from pixelflow.imaging.format import OUTPUT_HEAD_BYTES, OUTPUT_TAIL_BYTES, SIGNATURE_BYTES, OutputEnds
from pixelflow.imaging.formats.registry import INPUT_FORMATS, OUTPUT_FORMATS, output_name
from pixelflow.imaging.loading import LoadOptions
from pixelflow.imaging.source_options import SourceOptions

SMALL = {"id": "small", "action": "resize", "width": 60, "format": "png"}
STREAMED = {"avif", "jpeg", "png", "webp"}
"""Formats whose tests are in `test_sources`."""
each_format = pytest.mark.parametrize("name", SOURCES)


@pytest.fixture
def source(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "source"
        path.write_bytes(content)
        return path

    return write


def decoded(path: Path, format_: str) -> pyvips.Image:
    """Decode an output by PixelFlow's own decoder."""
    codec = import_module(f"pixelflow.imaging.formats.{format_}.load")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return codec.load(descriptor, LoadOptions(SourceOptions())).copy_memory()
    finally:
        os.close(descriptor)


def test_every_input_format_has_a_source() -> None:
    assert set(SOURCES) == set(INPUT_FORMATS)


@each_format
def test_every_format_is_read(run: Run, tmp_path: Path, source: Callable[[bytes], Path], name: str) -> None:
    rendered = run(source(SOURCES[name]()), SMALL, {**SMALL, "id": "large", "width": 120})
    assert rendered.source.format == name
    assert (rendered.source.width, rendered.source.height) == (120, 80)
    for output in ("small", "large"):
        with Image.open(tmp_path / f"{output}.png") as image:
            found = corner_colors(image)
        # LibRaw brightens what it develops.
        assert all(near(found[place], color, 45 if name == "raw" else 12) for place, color in QUADRANTS.items())


@each_format
def test_a_file_is_of_one_format_alone(name: str) -> None:
    head = SOURCES[name]()[:SIGNATURE_BYTES]
    assert [each.name for each in INPUT_FORMATS.values() if each.matches and each.matches(head)] == [name]


@each_format
def test_the_pixel_limit_is_checked_for_every_format(run: Run, source: Callable[[bytes], Path], name: str) -> None:
    with pytest.raises(TooManyPixelsError, match="120 × 80"):
        run(source(SOURCES[name]()), SMALL, source_pixels=120 * 80 - 1)


HEADERS = {"bmp": 60, "heic": 700, "ico": 120, "jp2": 200, "jxl": 20, "ppm": 15, "tga": 30}
"""Bytes of each file that are enough for its size, in formats that have it at the start."""


@pytest.mark.parametrize("name", HEADERS)
def test_the_pixel_limit_is_checked_before_a_pixel_is_decoded(
    run: Run, source: Callable[[bytes], Path], name: str
) -> None:
    path = source(SOURCES[name]()[: HEADERS[name]])
    with pytest.raises(TooManyPixelsError):
        run(path, SMALL, source_pixels=120 * 80 - 1)
    with pytest.raises(UndecodableError):
        run(path, SMALL)


@pytest.mark.parametrize("kept", [0.5, 0.9])
@pytest.mark.parametrize("name", sorted({*SOURCES} - STREAMED - {"gif", "jp2", "pdf", "raw"}))
def test_a_truncated_file_is_undecodable(run: Run, source: Callable[[bytes], Path], name: str, kept: float) -> None:
    content = SOURCES[name]()
    with pytest.raises(UndecodableError) as raised:
        run(source(content[: int(len(content) * kept)]), SMALL)
    assert INPUT_FORMATS[name].label in raised.value.detail


def test_a_tiff_with_an_empty_directory_is_undecodable(run: Run, source: Callable[[bytes], Path]) -> None:
    """Libtiff says that it could not allocate memory for it."""
    with pytest.raises(UndecodableError):
        run(source(b"II*\0\x08\0\0\0" + bytes(100)), SMALL)


@pytest.mark.parametrize("name", OUTPUT_FORMATS)
def test_every_format_is_written(run: Run, tmp_path: Path, source: Callable[[bytes], Path], name: str) -> None:
    path = source(SOURCES["png"]())
    rendered = run(path, {**SMALL, "id": "first"}, {**SMALL, "id": "second", "format": name})
    content = (tmp_path / output_name("second", name)).read_bytes()
    assert upright(_as_pillow(decoded(tmp_path / output_name("second", name), name)))
    assert (rendered.outputs[1].width, rendered.outputs[1].height) == (60, 40)
    read_size = OUTPUT_FORMATS[name].read_size
    assert read_size is not None
    assert read_size(_ends(content)) == (60, 40)
    for other in OUTPUT_FORMATS.values():
        if other.name != name and other.read_size:
            with pytest.raises((ValueError, IndexError)):
                other.read_size(_ends(content))


@pytest.mark.parametrize(
    ("name", "options"), [("tiff", {}), ("tiff", {"tile": True}), ("jxl", {"effort": 1}), ("gif", {"effort": 1})]
)
@pytest.mark.parametrize("size", [(1, 1), (3000, 7), (7, 3000), (2500, 2000), (256, 512)])
def test_the_size_of_an_output_is_found_in_its_header(
    run: Run, tmp_path: Path, name: str, size: tuple[int, int], options: dict[str, Any]
) -> None:
    width, height = size
    step = {"id": "a", "action": "resize", "width": width, "height": height, "fit": "fill", "enlarge": True}
    Image.new("RGB", (9, 9)).save(tmp_path / "in.png")
    run(tmp_path / "in.png", {**step, "format": name, "encoder": options})
    read_size = OUTPUT_FORMATS[name].read_size
    assert read_size is not None
    assert read_size(_ends((tmp_path / output_name("a", name)).read_bytes())) == size


def _ends(content: bytes) -> OutputEnds:
    return OutputEnds(content[:OUTPUT_HEAD_BYTES], content[-OUTPUT_TAIL_BYTES:], len(content))


def _as_pillow(image: pyvips.Image) -> Image.Image:
    return Image.fromarray(image.colourspace("srgb").numpy())


# ── Encoder options ──────────────────────────────────────────────────────────────────────────────

OPTIONS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("jpeg", {"chroma": "444"}, {"jpeg-chroma-subsample": "4:4:4"}),
    ("jpeg", {"chroma": "420"}, {"jpeg-chroma-subsample": "4:2:0"}),
    ("jpeg", {"progressive": True}, {"interlaced": 1}),
    ("jpeg", {"optimize": True, "trellis": True}, {}),
    ("webp", {"chroma": "sharp", "effort": 0}, {}),
    ("webp", {"near_lossless": True}, {}),
    ("avif", {"bit_depth": 10}, {"bits-per-sample": 10}),
    ("avif", {"chroma": "444", "effort": 1}, {}),
    ("png", {"palette": True}, {"palette": 1}),
    ("png", {"palette": True, "colors": 4}, {"palette": 1, "bits-per-sample": 2}),
    ("png", {"progressive": True}, {"interlaced": 1}),
    ("gif", {"colors": 5, "dither": 0.0, "effort": 1}, {"bits-per-sample": 3}),
    ("tiff", {"compression": "jpeg", "tile": True}, {}),
    ("tiff", {"compression": "none"}, {}),
    ("jxl", {"effort": 1}, {}),
]


@pytest.mark.parametrize(("name", "options", "fields"), OPTIONS, ids=lambda value: str(value)[:40])
def test_encoder_options_have_their_effect(
    run: Run, tmp_path: Path, name: str, options: dict[str, Any], fields: dict[str, Any]
) -> None:
    four_colors(120, 80).save(tmp_path / "in.png")
    run(tmp_path / "in.png", {**SMALL, "format": name, "encoder": options}, {**SMALL, "id": "plain", "format": name})
    image = decoded(tmp_path / output_name("small", name), name)
    assert upright(_as_pillow(image))
    assert {field: image.get(field) for field in fields} == fields
    plain = (tmp_path / output_name("plain", name)).read_bytes()
    assert (
        fields.get("jpeg-chroma-subsample") == "4:2:0" or plain != (tmp_path / output_name("small", name)).read_bytes()
    )


@pytest.mark.parametrize("name", ["webp", "avif", "jxl", "png", "tiff"])
def test_lossless_keeps_every_pixel(run: Run, tmp_path: Path, name: str) -> None:
    noise = Image.effect_noise((60, 40), 80).convert("RGB")
    noise.save(tmp_path / "noise.png")
    encoder = {"encoder": {"lossless": True}} if name in {"webp", "avif", "jxl"} else {}
    run(tmp_path / "noise.png", {**SMALL, "format": name, **encoder})
    image = decoded(tmp_path / output_name("small", name), name)
    assert _as_pillow(image).convert("RGB").tobytes() == noise.tobytes()


@pytest.mark.parametrize(("name", "quality", "full"), [("jpeg", 95, True), ("avif", 90, True), ("jpeg", 80, False)])
def test_thin_red_lines_keep_their_color_at_a_high_quality(
    run: Run, tmp_path: Path, name: str, quality: int, full: bool
) -> None:
    image = Image.new("RGB", (60, 60), "white")
    for x in range(4, 60, 8):
        image.paste((255, 0, 0), (x, 0, x + 1, 60))
    image.save(tmp_path / "lines.png")
    run(tmp_path / "lines.png", {**SMALL, "format": name, "quality": quality})
    line = decoded(tmp_path / output_name("small", name), name).getpoint(28, 30)
    assert (line[0] - line[1] > 190) is full


# ── Palettes ─────────────────────────────────────────────────────────────────────────────────────


def _gradient(width: int = 300) -> Image.Image:
    return Image.linear_gradient("L").resize((width, width * 2 // 3)).convert("RGB").quantize(64)


def test_a_png_with_a_palette_stays_one_and_does_not_grow_when_it_is_reduced(run: Run, tmp_path: Path) -> None:
    x, y = np.meshgrid(np.linspace(0, 1, 600), np.linspace(0, 1, 400))
    waves = [x * 200, y * 200, 100 + 90 * np.sin(9 * x) * np.cos(7 * y)]
    noise = np.random.default_rng(3).integers(0, 30, (400, 600, 3))
    image = Image.fromarray((np.dstack(waves) + noise).astype("u1"))
    image.quantize(64, dither=Image.Dither.FLOYDSTEINBERG).save(tmp_path / "in.png", optimize=True)
    step = {**SMALL, "width": 420}
    run(tmp_path / "in.png", step, {**step, "id": "true", "encoder": {"palette": False}})
    with Image.open(tmp_path / "small.png") as small, Image.open(tmp_path / "true.png") as true:
        assert (small.mode, true.mode) == ("P", "RGB")
    assert (tmp_path / "small.png").stat().st_size <= (tmp_path / "in.png").stat().st_size
    assert (tmp_path / "true.png").stat().st_size > (tmp_path / "in.png").stat().st_size


def test_a_palette_that_is_not_scaled_keeps_every_color(run: Run, tmp_path: Path) -> None:
    image = _gradient(60)
    image.save(tmp_path / "in.png")
    run(tmp_path / "in.png", SMALL)
    with Image.open(tmp_path / "small.png") as small:
        assert small.convert("RGB").tobytes() == image.convert("RGB").tobytes()


def test_a_palette_is_left_where_true_color_is_smaller(run: Run, tmp_path: Path) -> None:
    Image.new("P", (1, 1)).save(tmp_path / "in.png")
    run(tmp_path / "in.png", SMALL)
    with Image.open(tmp_path / "small.png") as small:
        assert small.mode == "RGB"


# ── Animations ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("into", ["gif", "webp"])
@pytest.mark.parametrize("name", ["gif", "png", "webp"])
def test_an_animation_keeps_its_frames_delays_and_loops(run: Run, tmp_path: Path, name: str, into: str) -> None:
    """A GIF counts how often it is played again; libvips, as WebP, counts how often it is played."""
    frames = [four_colors(120, 80), *(Image.new("RGB", (120, 80), (80 * place, 0, 90)) for place in (1, 2))]
    options: dict[str, Any] = {"gif": {"loop": 1}, "png": {"loop": 2}, "webp": {"loop": 2, "lossless": True}}[name]
    frames[0].save(tmp_path / "in", name.upper(), save_all=True, append_images=frames[1:], duration=[40, 50, 60],
                   **options)  # fmt: skip
    run(tmp_path / "in", {**SMALL, "format": into}, {**SMALL, "id": "still", "format": "jpeg"})
    loader = getattr(pyvips.Image, f"{into}load_source")
    image = loader(pyvips.Source.new_from_file(str(tmp_path / output_name("small", into))), n=-1)
    assert (image.width, image.height, image.get("page-height"), image.get("n-pages")) == (60, 120, 40, 3)
    assert (image.get("delay"), image.get("loop")) == ([40, 50, 60], 2)
    assert upright(_as_pillow(image.crop(0, 0, 60, 40).copy_memory()))
    assert image.getpoint(30, 100)[:3] == pytest.approx([160, 0, 90], abs=12)
    assert upright(Image.open(tmp_path / "still.jpg"))


@pytest.mark.parametrize("name", ["pdf", "tiff"])
def test_pages_are_no_animation(run: Run, tmp_path: Path, name: str) -> None:
    pages = [four_colors(120, 80), Image.new("RGB", (120, 80), "black")]
    options = {"resolution": 144.0} if name == "pdf" else {}
    pages[0].save(tmp_path / "in", name.upper(), save_all=True, append_images=pages[1:], **options)
    run(tmp_path / "in", {**SMALL, "format": "webp"})
    with Image.open(tmp_path / "small.webp") as image:
        assert getattr(image, "n_frames", 1) == 1
        assert upright(image)


# ── Color ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", OUTPUT_FORMATS)
def test_the_size_is_found_behind_a_long_color_profile(run: Run, tmp_path: Path, name: str) -> None:
    four_colors(60, 40).save(tmp_path / "in.png", icc_profile=_profile(curve_values=4096))
    run(tmp_path / "in.png", {**SMALL, "format": name, "color_space": "keep"})
    content, read_size = (tmp_path / output_name("small", name)).read_bytes(), OUTPUT_FORMATS[name].read_size
    assert read_size is not None
    assert read_size(_ends(content)) == (60, 40)


def _profile(curve_values: int) -> bytes:
    """A profile of three primaries and a sampled curve, which is not that of sRGB."""
    names = (b"rXYZ", b"gXYZ", b"bXYZ", b"wtpt")
    rows = ((0.515, 0.241, -0.001), (0.292, 0.692, 0.042), (0.157, 0.067, 0.784), (0.9642, 1.0, 0.8249))
    fixed = [struct.pack(">3i", *(round(value * 65_536) for value in row)) for row in rows]
    tags = {name: b"XYZ " + bytes(4) + row for name, row in zip(names, fixed, strict=True)}
    for gamma, name in enumerate((b"rTRC", b"gTRC", b"bTRC"), 20):
        curve = (np.linspace(0, 1, curve_values) ** (gamma / 10) * 65_535).astype(">u2").tobytes()
        tags[name] = b"curv" + bytes(4) + struct.pack(">I", curve_values) + curve
    table, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, value in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(value))
        body += value
    head = struct.pack(">II4s4s4s12x4s28x", start + len(body), 0, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    head = head[:8] + b"\2\x40\0\0" + head[8:]
    return (head + fixed[3]).ljust(128, b"\0") + table + body


@pytest.mark.parametrize("name", OUTPUT_FORMATS)
def test_an_output_in_display_p3_is_tagged_or_converted(run: Run, tmp_path: Path, name: str) -> None:
    """Display P3's red is out of reach for sRGB; GIF holds no profile."""
    four_colors(120, 80).save(tmp_path / "in.png")
    run(tmp_path / "in.png", {**SMALL, "format": name, "color_space": "p3"})
    image = decoded(tmp_path / output_name("small", name), name)
    assert bool(image.get_typeof("icc-profile-data")) is (name != "gif")
    in_srgb = image if name == "gif" else image.icc_transform("srgb")
    assert near(tuple(in_srgb.getpoint(15, 10)[:3]), QUADRANTS["northwest"], 20)
