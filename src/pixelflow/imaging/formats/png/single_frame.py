"""An animated PNG (PNG, third edition, 4.9) with one frame beside its default image: browsers show that frame alone.

libvips reads the default image alone, so the frame is made a file of its own, which libvips decodes as any other.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import pyvips

from pixelflow.imaging.alpha import with_alpha
from pixelflow.imaging.decoded import map_file
from pixelflow.imaging.errors import damaged
from pixelflow.imaging.formats.png.animation import count_frames, states_animation

_SIGNATURE_BYTES = 8
_MAX_CHUNKS = 1 << 16
"""Chunks that are read."""
_HEADER_BYTES, _CONTROL_BYTES = 25, 38
"""Of the chunks IHDR and fcTL."""


@dataclass(frozen=True)
class SingleFrame:
    """The only frame of an animation, without the default image."""

    content: bytes
    """A PNG file with its pixels, and the metadata of the animation."""
    size: tuple[int, int]
    """Width and height of the canvas."""
    place: tuple[int, int]
    """Left and top of the frame on it."""

    def on_canvas(self, image: pyvips.Image) -> pyvips.Image:
        """Place the decoded frame on its canvas, which is transparent black (PNG, third edition, 11.3.6.2)."""
        if (image.width, image.height) == self.size:
            return image
        return with_alpha(image).embed(*self.place, *self.size, extend="black")


def read_single_frame(descriptor: int) -> SingleFrame | None:
    """Return the frame that replaces the default image; None if the default image is shown.

    Of several frames, the default image is the author's choice for viewers without animation.

    Raises:
        UndecodableError: the frame is not within the canvas.
    """
    if not states_animation(descriptor) or count_frames(descriptor) > 1:
        return None
    with map_file(descriptor) as data:
        chunks = list(_chunks(data))
        places = [place for place, (kind, *_) in enumerate(chunks) if kind == b"fcTL"]
        if not places or b"IDAT" not in {kind for kind, *_ in chunks[: places[0]]}:
            return None
        return _rewritten(data, chunks, [*places, len(chunks)][:2])


def _chunks(data: mmap.mmap) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start and end of each chunk; the last may be truncated."""
    position = _SIGNATURE_BYTES
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(data):
            break
        (length,), kind = struct.unpack_from(">I", data, position), data[position + 4 : position + 8]
        yield kind, position, min(position + 12 + length, len(data))
        position += 12 + length


def _rewritten(data: mmap.mmap, chunks: list[tuple[bytes, int, int]], frame: list[int]) -> SingleFrame:
    """Make a file of the chunks of the frame, which are those between two places, and of all that are no pixels."""
    (header, *_), control = chunks, chunks[frame[0]]
    if header[0] != b"IHDR" or header[2] - header[1] != _HEADER_BYTES or control[2] - control[1] != _CONTROL_BYTES:
        raise damaged("PNG")
    canvas = struct.unpack_from(">II", data, header[1] + 8)
    width, height, left, top = struct.unpack_from(">4I", data, control[1] + 12)
    if left + width > canvas[0] or top + height > canvas[1]:
        raise damaged("PNG")
    parts = [data[:_SIGNATURE_BYTES], _header(data[header[1] : header[2]], width, height)]
    for place, (kind, start, end) in enumerate(chunks[1:], 1):
        if kind == b"fdAT" and frame[0] < place < frame[1]:
            parts.append(_pixels(data[start:end]))
        elif kind not in {b"acTL", b"fcTL", b"IDAT", b"fdAT"}:
            parts.append(data[start:end])
    return SingleFrame(b"".join(parts), canvas, (left, top))


def _header(chunk: bytes, width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">II", width, height) + chunk[16:-4]
    return chunk[:4] + body + struct.pack(">I", zlib.crc32(body) ^ _damage(chunk))


def _pixels(chunk: bytes) -> bytes:
    """Convert a chunk fdAT to IDAT, without its sequence number. A wrong checksum stays wrong."""
    (length,) = struct.unpack_from(">I", chunk)
    if length < 4:  # noqa: PLR2004 - the sequence number
        raise damaged("PNG")
    start = struct.pack(">I", length - 4)
    if len(chunk) < length + 12:  # the file is truncated, and so is the new one
        return start + b"IDAT" + chunk[12:]
    body = b"IDAT" + chunk[12:-4]
    return start + body + struct.pack(">I", zlib.crc32(body) ^ _damage(chunk))


def _damage(chunk: bytes) -> int:
    return int.from_bytes(chunk[-4:], "big") ^ zlib.crc32(chunk[4:-4])
