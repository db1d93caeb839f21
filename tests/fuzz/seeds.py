"""Small files in every input format, from which the fuzzer starts."""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Iterator
from pathlib import Path

import pyvips
from PIL import Image
from tests.unit.imaging.every_format import FILES, SOURCES

_PILLOW = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "ICO", "JPEG2000", "TGA", "PPM")
_MODES = ("RGB", "RGBA", "L", "LA", "P", "CMYK", "1", "I;16")
_TEXTS = {
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="20" height="10"><circle cx="9" cy="5" r="4"/></svg>',
    "mp4": struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0) + bytes(80),
    "zip": b"PK\x03\x04" + bytes(60),
    "html": b"<html><script>alert(1)</script></html>",
}


def write_seeds(folder: Path) -> int:
    """Write all seeds into the folder, named by their content, and return their number."""
    seeds = {hashlib.sha256(data).hexdigest()[:16]: data for data in _seeds()}
    for name, data in seeds.items():
        (folder / name).write_bytes(data)
    return len(seeds)


def _seeds() -> Iterator[bytes]:
    yield from _TEXTS.values()
    yield from (make() for make in SOURCES.values())
    yield from (path.read_bytes() for path in sorted(FILES.glob("*")) if path.is_file())
    for mode in _MODES:
        image = Image.effect_noise((24, 16), 60).convert("L").convert(mode)
        for format_ in _PILLOW:
            yield from _saved(image, format_)
    frames = [Image.new("RGB", (20, 12), (40 * place, 90, 200)) for place in range(3)]
    for format_ in ("GIF", "WEBP", "PNG"):
        yield from _saved(frames[0], format_, save_all=True, append_images=frames[1:], duration=50)
    noise = pyvips.Image.gaussnoise(24, 16, mean=128).cast("uchar").bandjoin([9, 200])
    yield noise.copy(interpretation="srgb").heifsave_buffer(compression="av1", effort=0)
    yield from _saved(Image.new("RGB", (64, 48), "red"), "JPEG", progressive=True)


def _saved(image: Image.Image, format_: str, **options: object) -> Iterator[bytes]:
    file = io.BytesIO()
    try:
        image.save(file, format_, **options)
    except (OSError, ValueError, KeyError):  # a format does not have every mode
        return
    yield file.getvalue()
