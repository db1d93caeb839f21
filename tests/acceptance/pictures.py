"""Generated test photos: small, and designed to reveal any error in size, position or color."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image

RED, GREEN, BLUE, WHITE = (230, 30, 30), (30, 200, 30), (30, 30, 230), (255, 255, 255)
QUADRANTS = (RED, GREEN, BLUE, WHITE)
"""Of :func:`flag`: above left, above right, below left, below right."""

# What undoes each EXIF orientation's way of showing a picture (CIPA DC-008, tag 274).
_STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def flag(width: int = 120, height: int = 80) -> Image.Image:
    """Four fields of plain color: no two ways of turning it look the same."""
    picture = Image.new("RGB", (width, height))
    for index, color in enumerate(QUADRANTS):
        column, row = index % 2, index // 2
        picture.paste(
            color, (column * width // 2, row * height // 2, (column + 1) * width // 2, (row + 1) * height // 2)
        )
    return picture


def saved(picture: Image.Image, format_: str = "JPEG", **options: object) -> bytes:
    """The picture as a file."""
    file = io.BytesIO()
    picture.save(file, format_, **({"quality": 95, "subsampling": 0} if format_ == "JPEG" else {}), **options)
    return file.getvalue()


def photo(width: int = 120, height: int = 80) -> bytes:
    """A JPEG of :func:`flag`."""
    return saved(flag(width, height))


def turned_photo(orientation: int) -> bytes:
    """A JPEG of :func:`flag` as a camera held in that way stores it."""
    transpose = _STORED_AS[orientation]
    stored = flag() if transpose is None else flag().transpose(transpose)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(stored, exif=exif)


def noise(width: int, height: int) -> bytes:
    """A JPEG that costs its decoder as much as a real photo does."""
    return saved(Image.effect_noise((width, height), 60).convert("RGB"))


def gray_16_bit() -> bytes:
    """A PNG with 16 bits a pixel: dark left, light right."""
    row = struct.pack("<H", 0x4000) * 60 + struct.pack("<H", 0xC000) * 60
    return saved(Image.frombytes("I;16", (120, 80), row * 80), "PNG")


def half_transparent() -> bytes:
    """A PNG that is transparent left and opaque red right."""
    picture = Image.new("RGBA", (120, 80), (0, 0, 0, 0))
    picture.paste((*RED, 255), (60, 0, 120, 80))
    return saved(picture, "PNG")


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose head promises that many pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def opened(file: bytes) -> Image.Image:
    """The picture in the file, as it is stored."""
    picture = Image.open(io.BytesIO(file))
    picture.load()
    return picture


def quadrants(picture: Image.Image) -> list[tuple[int, ...]]:
    """The colors in the middle of the four fields of :func:`flag`."""
    shown = picture.convert("RGB")
    width, height = shown.size
    places = [(column * width // 4, row * height // 4) for row in (1, 3) for column in (1, 3)]
    return [color(shown, *place) for place in places]


def color(picture: Image.Image, x: int, y: int) -> tuple[int, ...]:
    """One pixel."""
    found = picture.getpixel((x, y))
    assert isinstance(found, tuple)
    return tuple(int(channel) for channel in found)


def distance(seen: list[tuple[int, ...]], meant: list[tuple[int, ...]]) -> int:
    """The largest difference in any channel of any of the colors, out of 255."""
    return max(abs(a - b) for one, other in zip(seen, meant, strict=True) for a, b in zip(one, other, strict=True))
