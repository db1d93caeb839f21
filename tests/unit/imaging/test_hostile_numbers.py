"""Numbers in files that no sound file has: they never end in an error other than that of a damaged source."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image
from tests.unit.imaging.pictures import Run

from pixelflow.errors import OutOfMemoryError, TooManyPixelsError, UndecodableError, WorkerUnavailableError
from pixelflow.imaging.errors import map_decode_errors
from pixelflow.imaging.heif_alpha import Alpha, read_alpha
from pixelflow.imaging.isobmff import Meta
from pixelflow.imaging.metadata import Metadata
from pixelflow.imaging.protocol import TransformLimits
from pixelflow.imaging.source import SourceImage, open_source
from pixelflow.imaging.source_options import SourceOptions

FILES = Path(__file__).parent / "files"
SAME = {"id": "out", "action": "convert", "format": "png"}
SCALED = {"id": "out", "action": "resize", "width": 8, "format": "webp"}


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def animation(frames: int, plays: int, *, default: bool = False) -> bytes:
    """An animated PNG of 2 frames, red and blue, that states other numbers; its default image is green."""
    pictures = [Image.new("RGB", (24, 16), color) for color in ("red", "blue")]
    first = Image.new("RGB", (24, 16), "lime") if default else pictures.pop(0)
    file = io.BytesIO()
    first.save(file, "PNG", save_all=True, append_images=pictures, default_image=default)
    content = file.getvalue()
    start = content.index(b"acTL") - 4
    return content[:start] + chunk(b"acTL", struct.pack(">II", frames, plays)) + content[start + 20 :]


@pytest.mark.parametrize("size", [2**64 - 1, 2**63, 2**62])
def test_a_box_may_state_any_size(tmp_path: Path, size: int) -> None:
    path = tmp_path / "in.avif"
    path.write_bytes(struct.pack(">I4sQ", 1, b"ftyp", size) + b"avif" * 8)
    descriptor = os.open(path, os.O_RDONLY)
    assert read_alpha(descriptor) == Alpha()
    os.close(descriptor)


def test_an_item_may_state_any_position() -> None:
    body = struct.pack(">B3x2BHHHQHQQ", 0, 0x88, 0x80, 1, 1, 0, 2**64 - 1, 1, 2**64 - 1, 1)
    meta = Meta(struct.pack(">I4s", 8 + len(body), b"iloc") + body, 0)
    assert meta.position(1) < 2**63


@pytest.mark.parametrize("place", range(8))
def test_a_clean_aperture_may_have_any_numbers(run: Run, tmp_path: Path, place: int) -> None:
    content = bytearray((FILES / "clap.avif").read_bytes())
    start = content.index(b"clap") + 4 + 4 * place
    content[start : start + 4] = b"\xff\xff\xff\xf0" if place % 2 == 0 else bytes(4)
    (tmp_path / "in.avif").write_bytes(content)
    try:
        run(tmp_path / "in.avif", SAME)
    except UndecodableError:
        return


def test_an_animation_may_be_repeated_any_number_of_times(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.png").write_bytes(animation(2, 2**32 - 1))
    assert run(tmp_path / "in.png", SCALED).source.frames == 2


@pytest.mark.parametrize("frames", [2**31, 2**32 - 1])
def test_an_animation_may_state_any_number_of_frames(run: Run, tmp_path: Path, frames: int) -> None:
    (tmp_path / "in.png").write_bytes(animation(frames, 0))
    assert run(tmp_path / "in.png", SAME).source.frames == 2**31 - 1
    with pytest.raises(TooManyPixelsError):
        run(tmp_path / "in.png", SCALED)


@pytest.mark.parametrize("encoding", ["no-such-code", "hex", "utf-7", "\0"])
def test_metadata_may_state_any_encoding(encoding: str) -> None:
    xmp = f'<?xml version="1.0" encoding="{encoding}"?><a/>'.encode()
    assert not any(Metadata({"xmp-data": xmp}).copyright.values())


@pytest.mark.parametrize(
    "error", [OverflowError(), ValueError(), LookupError(), TypeError(), struct.error(), EOFError(), OSError(22, "x")]
)
def test_errors_of_readers_are_those_of_the_source(error: Exception, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UndecodableError), map_decode_errors("PNG"):
        raise error
    assert type(error).__name__ in capfd.readouterr().err


def test_errors_of_resources_are_not_those_of_the_source() -> None:
    with pytest.raises(WorkerUnavailableError), map_decode_errors("PNG"):
        raise OSError(28, os.strerror(28))
    with pytest.raises(OutOfMemoryError), map_decode_errors("PNG"):
        raise OSError(12, os.strerror(12))


def test_other_errors_stay() -> None:
    with pytest.raises(NameError), map_decode_errors("PNG"):
        raise NameError


@pytest.mark.parametrize("format_", ["png", "gif", "webp"])
def test_the_frames_are_limited(tmp_path: Path, format_: str) -> None:
    pictures = [Image.new("RGB", (24, 16), color) for color in ("red", "lime", "blue")]
    path = tmp_path / f"in.{format_}"
    pictures[0].save(path, save_all=True, append_images=pictures[1:])
    descriptor = os.open(path, os.O_RDONLY)

    def opened(max_frames: int, frame: int | None = None, *, animated: bool = True) -> SourceImage:
        limits = TransformLimits(
            max_source_pixels=10**6, max_output_pixels=10**6, max_output_bytes=10**6, max_frames=max_frames
        )
        return open_source(descriptor, limits, SourceOptions(frame=frame), animated=lambda _format: animated)

    assert opened(3).frames == 3
    assert opened(1, animated=False).frames == 1
    with pytest.raises(TooManyPixelsError, match="3 frames of the source; the limit is 2"):
        opened(2)
    assert opened(2, frame=1).frames == 1
    with pytest.raises(TooManyPixelsError, match="3 frames"):
        opened(2, frame=2)
    os.close(descriptor)


@pytest.mark.parametrize(("frame", "color"), [(None, (0, 255, 0)), (0, (255, 0, 0)), (1, (0, 0, 255))])
def test_a_default_image_is_no_frame(run: Run, tmp_path: Path, frame: int | None, color: tuple[int, ...]) -> None:
    (tmp_path / "in.png").write_bytes(animation(2, 0, default=True))
    run(tmp_path / "in.png", SAME, frame=frame)
    with Image.open(tmp_path / "out.png") as image:
        assert image.convert("RGB").getpixel((12, 8)) == color


@pytest.mark.parametrize("frame", [None, 0])
@pytest.mark.parametrize("format_", ["png", "gif"])
def test_a_single_frame_replaces_the_default_image(run: Run, tmp_path: Path, frame: int | None, format_: str) -> None:
    content = animation(1, 0, default=True)
    second = content.index(b"fcTL", content.index(b"fdAT")) - 4
    (tmp_path / "in.png").write_bytes(content[:second] + chunk(b"IEND", b""))
    rendered = run(tmp_path / "in.png", SAME | {"format": format_}, frame=frame)
    assert rendered.source.frames == 1
    with Image.open(tmp_path / f"out.{format_}") as image:
        assert image.convert("RGB").getpixel((12, 8)) == (255, 0, 0)


def test_an_animation_whose_frames_were_removed_is_its_default_image(run: Run, tmp_path: Path) -> None:
    content = animation(1, 0, default=True)
    (tmp_path / "in.png").write_bytes(content[: content.index(b"fcTL") - 4] + chunk(b"IEND", b""))
    run(tmp_path / "in.png", SAME)
    with Image.open(tmp_path / "out.png") as image:
        assert image.convert("RGB").getpixel((12, 8)) == (0, 255, 0)


def test_the_memory_of_an_animation_is_that_of_its_frames(tmp_path: Path) -> None:
    (tmp_path / "in.png").write_bytes(animation(2, 0))
    descriptor = os.open(tmp_path / "in.png", os.O_RDONLY)
    limits = TransformLimits(max_source_pixels=10**6, max_output_pixels=10**6, max_output_bytes=10**6)
    assert open_source(descriptor, limits).header.bytes_per_pixel == 4
    os.close(descriptor)
