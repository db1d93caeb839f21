"""One picture, 120 × 80 in four colors, in every format that PixelFlow reads."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tests.unit.imaging.pictures import QUADRANTS, four_colors

from pixelflow.imaging.formats.jxl import libjxl

FILES = Path(__file__).with_name("files")


def _by_pillow(format_: str, **options: Any) -> Callable[[], bytes]:  # noqa: ANN401 - Pillow's own options
    def make() -> bytes:
        file = io.BytesIO()
        four_colors(120, 80).save(file, format_, **options)
        return file.getvalue()

    return make


def svg(content: str = "", width: int = 120, height: int = 80) -> bytes:
    """An SVG of the four colors, with further elements on top."""
    rectangles = "".join(
        f'<rect x="{60 * ("east" in name)}" y="{40 * ("south" in name)}" width="60" height="40" fill="rgb{color}"/>'
        for name, color in QUADRANTS.items()
    )
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {names} width="{width}" height="{height}">{rectangles}{content}</svg>'.encode()


def jxl() -> bytes:
    """A lossless JPEG XL."""
    pixels = bytearray(four_colors(120, 80).tobytes())
    return libjxl.encode(libjxl.Info(120, 80, 3, 8), pixels, quality=None, effort=1)


def dng(preview: Image.Image | None = None, *, orientation: int = 1, size: tuple[int, int] = (120, 80)) -> bytes:
    """A DNG of the four colors, of 16 bits, stored as ``orientation`` says, with a JPEG as preview."""
    raw = _mosaic(four_colors(*size)).tobytes()
    jpeg = io.BytesIO()
    (preview or four_colors(60, 40)).save(jpeg, "JPEG", quality=95, subsampling=0)
    parts = {"preview": jpeg.getvalue(), "raw": raw}
    width, height = size
    shape = preview.size if preview else (60, 40)
    first = {
        254: (4, [1]), 256: (4, [shape[0]]), 257: (4, [shape[1]]), 258: (3, [8, 8, 8]), 259: (3, [7]), 262: (3, [6]),
        271: (2, b"Acme\0"), 272: (2, b"One\0"), 273: (4, "preview"), 274: (3, [orientation]), 277: (3, [3]),
        278: (4, [shape[1]]), 279: (4, [len(parts["preview"])]), 330: (4, "second"), 50706: (1, [1, 4, 0, 0]),
        50708: (2, b"Acme One\0"), 50721: (10, _XYZ_TO_SRGB), 50728: (5, [(1, 1)] * 3), 50778: (3, [21]),
    }  # fmt: skip
    second = {
        254: (4, [0]), 256: (4, [width]), 257: (4, [height]), 258: (3, [16]), 259: (3, [1]), 262: (3, [32803]),
        273: (4, "raw"), 277: (3, [1]), 278: (4, [height]), 279: (4, [len(raw)]), 33421: (3, [2, 2]),
        33422: (1, [0, 1, 1, 2]), 50714: (4, [0]), 50717: (4, [65535]),
    }  # fmt: skip
    return _tiff(first, second, parts)


_XYZ_TO_SRGB = [(32405, 10000), (-15371, 10000), (-4985, 10000), (-9693, 10000), (18760, 10000), (416, 10000),
                (556, 10000), (-2040, 10000), (10572, 10000)]  # fmt: skip


def _mosaic(image: Image.Image) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """What a sensor with the filter red, green, green, blue sees, in linear light."""
    light = (np.asarray(image) / 255.0) ** 2.2 * 65535
    sensor = light[..., 1].astype("<u2")
    sensor[0::2, 0::2], sensor[1::2, 1::2] = light[0::2, 0::2, 0], light[1::2, 1::2, 2]
    return sensor


def _tiff(first: Mapping[int, Any], second: Mapping[int, Any], parts: Mapping[str, bytes]) -> bytes:
    """A TIFF of two directories, of which the first has the offset of the second, and of the parts behind them."""
    places = {"second": 8 + len(_directory(first, 8, {}))}
    end = places["second"] + len(_directory(second, 0, {}))
    for name, part in parts.items():
        places[name], end = end, end + len(part)
    start = b"II*\0" + struct.pack("<I", 8) + _directory(first, 8, places)
    return start + _directory(second, places["second"], places) + b"".join(parts.values())


def _directory(entries: Mapping[int, Any], at: int, places: Mapping[str, int]) -> bytes:
    table, values = struct.pack("<H", len(entries)), b""
    for tag, (kind, value) in sorted(entries.items()):
        numbers = [places.get(value, 0)] if isinstance(value, str) else value
        packed = {1: "B", 2: "B", 3: "H", 4: "I", 5: "II", 10: "ii"}[kind]
        rows = [row if isinstance(row, tuple) else (row,) for row in numbers]
        data = b"".join(struct.pack(f"<{packed}", *row) for row in rows)
        table += struct.pack("<HHI", tag, kind, len(rows))
        if len(data) <= 4:
            table += data.ljust(4, b"\0")
        else:
            table += struct.pack("<I", at + 6 + 12 * len(entries) + len(values))
            values += data
    return table + bytes(4) + values


SOURCES: Mapping[str, Callable[[], bytes]] = {
    "avif": _by_pillow("AVIF", quality=90),
    "bmp": _by_pillow("BMP"),
    "gif": _by_pillow("GIF"),
    "heic": (FILES / "quadrants.heic").read_bytes,
    "ico": _by_pillow("ICO", sizes=[(120, 80)]),
    "jp2": _by_pillow("JPEG2000"),
    "jpeg": _by_pillow("JPEG", quality=95),
    "jxl": jxl,
    "pdf": _by_pillow("PDF", resolution=144.0),
    "png": _by_pillow("PNG"),
    "ppm": _by_pillow("PPM"),
    "raw": dng,
    "svg": svg,
    "tga": _by_pillow("TGA"),
    "tiff": _by_pillow("TIFF", compression="tiff_lzw"),
    "webp": _by_pillow("WEBP", quality=95),
}
"""Name of an input format → makes a file of it."""
