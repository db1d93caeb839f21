"""Damaged sources of any declared size: the work on them is bounded before their pixels are counted."""

from __future__ import annotations

import os
import resource
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.waiting import assert_cpu_within

from pixelflow.errors import TooManyPixelsError, UndecodableError
from pixelflow.imaging.decoded import map_file
from pixelflow.imaging.formats.png.completed import completed as completed_png
from pixelflow.imaging.formats.webp import chunks as webp
from pixelflow.imaging.protocol import TransformLimits
from pixelflow.imaging.source import open_source
from pixelflow.imaging.source_options import OnDamage, SourceOptions

LIMITS = TransformLimits(max_source_pixels=10**8, max_output_pixels=10**8, max_output_bytes=10**8)
ACCEPT = SourceOptions(on_damage=OnDamage.ACCEPT)


@contextmanager
def opened(folder: Path, content: bytes) -> Iterator[int]:
    (folder / "in").write_bytes(content)
    descriptor = os.open(folder / "in", os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def bounded(seconds: float, megabytes: int) -> Iterator[None]:
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    assert_cpu_within(seconds, start)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < megabytes * 1024


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def interlaced(width: int, height: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks)


def lossy_webp(width: int, height: int, length: int) -> bytes:
    frame = b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height) + bytes(10)
    return b"RIFF" + struct.pack("<I", length) + b"WEBPVP8 " + struct.pack("<I", length - 12) + frame


def test_an_interlaced_png_with_too_many_rows_is_refused_at_once(tmp_path: Path) -> None:
    content = interlaced(8, 2**31 - 1, chunk(b"IDAT", b"damaged"))
    refused = pytest.raises((TooManyPixelsError, UndecodableError))
    with opened(tmp_path, content) as descriptor, bounded(1, 64), refused:
        open_source(descriptor, LIMITS, ACCEPT)


def test_the_pixels_of_an_interlaced_png_are_counted_before_it_is_completed(tmp_path: Path) -> None:
    content = interlaced(50_000, 50_000, chunk(b"tEXt", b"no pixels"))
    with opened(tmp_path, content) as descriptor, bounded(1, 64), pytest.raises(TooManyPixelsError):
        open_source(descriptor, LIMITS, ACCEPT)


def test_a_png_with_many_empty_chunks_is_read_in_linear_time(tmp_path: Path) -> None:
    content = interlaced(8, 8, *[chunk(b"tEXt", b"")] * 200_000)
    with opened(tmp_path, content) as descriptor, map_file(descriptor) as data, bounded(1, 64):
        assert completed_png(data)


def test_a_png_is_inflated_up_to_its_size(tmp_path: Path) -> None:
    bomb = zlib.compress(bytes(200_000_000), 9)
    with (
        opened(tmp_path, interlaced(8, 8, chunk(b"IDAT", bomb))) as descriptor,
        map_file(descriptor) as data,
        bounded(0.1, 16),
    ):
        assert completed_png(data)


def test_filters_behind_the_damage_become_valid(tmp_path: Path) -> None:
    with (
        opened(tmp_path, interlaced(1, 1, chunk(b"IDAT", zlib.compress(b"\x09abc")))) as descriptor,
        map_file(descriptor) as data,
    ):
        content = completed_png(data)
    assert content
    assert chunk(b"IDAT", zlib.compress(b"\0abc", 1)) in content


@pytest.mark.parametrize("size", [16, 16_383])
def test_a_webp_of_any_declared_length_takes_no_memory(tmp_path: Path, size: int) -> None:
    refused = pytest.raises((TooManyPixelsError, UndecodableError))
    with opened(tmp_path, lossy_webp(size, size, 0x7FFFFFFE)) as descriptor, bounded(1, 64), refused:
        open_source(descriptor, LIMITS, ACCEPT).check()


def test_the_chunks_of_a_webp_are_followed_up_to_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webp, "_MAX_CHUNKS", 10)
    content = b"RIFF" + struct.pack("<I", 2**20) + b"WEBP" + (b"EXIF" + bytes(4)) * 1000
    with opened(tmp_path, content) as descriptor:
        made = webp.completed(descriptor, tolerant=True)
    assert made
    assert len(made) == 12 + 10 * 8
