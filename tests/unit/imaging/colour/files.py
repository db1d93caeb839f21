"""Sources that state their color, made from bytes."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image, ImageCms

Rgb = tuple[int, ...]


def png(color: Rgb, *chunks: tuple[bytes, bytes], depth: int = 8) -> bytes:
    """A PNG of 32 × 32 pixels of one color, with the chunks before its pixels."""
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[len(color)]
    row = b"\0" + struct.pack(f">{len(color)}{'B' if depth == 8 else 'H'}", *color) * 32
    head = struct.pack(">IIBBBBB", 32, 32, depth, kind, 0, 0, 0)
    every = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(row * 32)), (b"IEND", b"")]
    body = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in every
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def profile_chunk(profile: bytes) -> tuple[bytes, bytes]:
    return b"iCCP", b"profile\0\0" + zlib.compress(profile)


def by_littlecms(color: Rgb, profile: bytes) -> Rgb:
    """The color in sRGB, by another implementation: relative colorimetric."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    image = Image.new("RGB", (1, 1), color[:3])
    converted = ImageCms.profileToProfile(
        image, source, ImageCms.createProfile("sRGB"), renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC
    )
    assert converted is not None
    return converted.getpixel((0, 0))  # type: ignore[return-value]
