"""What the measurements stand on: photos, a proxy that delays, colors, a fitted line."""

from __future__ import annotations

import asyncio
import io
import socket
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import pyvips
from bench.delay import serve
from bench.photos import REAL
from bench.sections.users import fit_line
from bench.sources import SOURCES, user_photos

from bench import quality

DELAY = 0.05


def test_photos_are_as_described_and_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    photos = user_photos(3)
    images = [pyvips.Image.new_from_file(str(photo)) for photo in photos]
    for image, source in zip(images, SOURCES, strict=False):
        assert image.width * image.height == pytest.approx(source.megapixels * 1_000_000, rel=0.01)
        assert image.get("vips-loader") == ("pngload" if source.kind == "png" else "jpegload")
        assert (image.get_typeof("icc-profile-data") != 0) == (source.profile is not None)
    assert images[2].get("jpeg-multiscan")  # progressive
    assert not images[0].get("jpeg-multiscan")
    written = [photo.stat().st_mtime_ns for photo in photos]
    assert user_photos(3) == photos
    assert [photo.stat().st_mtime_ns for photo in photos] == written


def test_there_are_16_photos_of_all_kinds() -> None:
    assert len(SOURCES) + 1 == 16  # and the real one
    assert len({source.name for source in SOURCES} | {REAL.name}) == 16
    kinds = Counter(source.kind for source in SOURCES)
    assert (kinds["baseline"] + 1, kinds["progressive"], kinds["png"]) == (9, 5, 2)
    profiles = Counter(source.profile for source in SOURCES)
    assert (profiles["srgb"], profiles["p3"]) == (5, 4)
    assert (min(source.megapixels for source in SOURCES), max(source.megapixels for source in SOURCES)) == (1, 24)


def test_a_delayed_connection_delivers_all_bytes_one_delay_later_each_way() -> None:
    seconds, received = asyncio.run(echo_through_delay(bytes(range(256)) * 4096))
    assert received == bytes(range(256)) * 4096
    assert seconds >= 2 * DELAY


async def echo_through_delay(sent: bytes) -> tuple[float, bytes]:
    """Send bytes to an echo server through the proxy; return the seconds, and what came back until its end."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    listening = socket.create_server(("127.0.0.1", 0))
    proxy = asyncio.create_task(serve(listening, "127.0.0.1", server.sockets[0].getsockname()[1], DELAY))
    began = time.monotonic()
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    writer.write(sent)
    writer.write_eof()
    received = await reader.read(-1)
    seconds = time.monotonic() - began
    writer.close()
    proxy.cancel()
    await asyncio.gather(proxy, return_exceptions=True)
    server.close()
    return seconds, received


def test_the_same_colors_in_another_profile_score_as_equal() -> None:
    photo = pyvips.Image.thumbnail(str(REAL), 200)
    plain = photo.pngsave_buffer(keep="none")
    wide = photo.icc_transform("p3", input_profile="srgb").pngsave_buffer()
    one, other = (quality.pixels_of(io.BytesIO(data)) for data in (plain, wide))
    assert quality.score(other, one).color_difference < 1
    without_profile = quality.pixels_of(io.BytesIO(pyvips.Image.new_from_buffer(wide, "").pngsave_buffer(keep="none")))
    assert np.abs(without_profile - one).mean() > np.abs(other - one).mean()


def test_a_line_is_fitted_to_cpu_by_size() -> None:
    assert fit_line([0.35, 2.2, 6.7], [3.35, 5.2, 9.7]) == pytest.approx((3, 1))
