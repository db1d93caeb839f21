"""The source image: format detection, limits and decoding.

Formats are detected by their first bytes, never by a file name, and only the four supported decoders may be used. Of an
image with several frames the first is used; the pixel limit counts all frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyvips

from pixelflow.contracts.errors import TooManyPixelsError, UnsupportedFormatError
from pixelflow.contracts.pipeline import Format
from pixelflow.dataplane.imaging.errors import map_decode_errors
from pixelflow.dataplane.imaging.geometry import Size
from pixelflow.dataplane.imaging.picture import Picture, upright_size

_SIGNATURE_BYTES = 64
"""Enough for every signature, including the list of brands in the `ftyp` box of AVIF."""
_MAX_SHRINK_ON_LOAD = {Format.JPEG: 8, Format.PNG: 1, Format.WEBP: 8, Format.AVIF: 1}
"""Largest reduction by the decoder itself: up to 8 by libjpeg's inverse DCT; libwebp rescales while decoding."""


@dataclass(frozen=True)
class SourceImage:
    """An image file within the limits. Pixels are decoded on demand."""

    path: Path
    format: Format
    size: Size
    """Pixels, upright."""

    def decode(self, shrink: int = 1) -> Picture:
        """Decode as a stream, reduced by ``shrink`` (a power of two), as far as possible by the decoder itself.

        Raises:
            UndecodableError: the file is damaged. Damage beyond the header is detected when pixels are computed.
        """
        on_load = min(shrink, _MAX_SHRINK_ON_LOAD[self.format])
        with map_decode_errors(self.format):
            image = _load(self.path, self.format, **_shrink_options(self.format, on_load))
        return Picture(image, self.size).box_shrink(shrink // on_load)

    def check(self) -> None:
        """Decode all pixels and discard them.

        Raises:
            UndecodableError: the file is damaged.
        """
        with map_decode_errors(self.format):
            self.decode().image.avg()


def open_source(path: Path, max_pixels: int) -> SourceImage:
    """Read the header of the file.

    Raises:
        UnsupportedFormatError: the file is not an image in a supported format.
        UndecodableError: the header is damaged.
        TooManyPixelsError: width × height × frames is more than ``max_pixels``.
    """
    format_ = _detect_format(path)
    with map_decode_errors(format_):
        image = _load(path, format_)
    size = upright_size(image)
    frames = int(image.get("n-pages")) if image.get_typeof("n-pages") else 1
    if size.pixels * frames > max_pixels:
        per_frame = f" in each of {frames} frames" if frames > 1 else ""
        raise TooManyPixelsError(
            f"The source has {size.width} × {size.height} pixels{per_frame}; the limit is {max_pixels} pixels"
        )
    return SourceImage(path, format_, size)


def _detect_format(path: Path) -> Format:
    with path.open("rb") as file:
        head = file.read(_SIGNATURE_BYTES)
    if head.startswith(b"\xff\xd8\xff"):
        return Format.JPEG
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return Format.PNG
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return Format.WEBP
    if head[4:8] == b"ftyp" and _is_avif(head):
        return Format.AVIF
    raise UnsupportedFormatError("The source is not a JPEG, PNG, WebP or AVIF image")


def _is_avif(head: bytes) -> bool:
    """Whether the major or a compatible brand of the `ftyp` box (ISO/IEC 14496-12) is one of AVIF's."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[start : start + 4] for start in range(8, end, 4)}
    return bool(brands & {b"avif", b"avis"})


def _load(path: Path, format_: Format, **options: Any) -> pyvips.Image:  # noqa: ANN401 - libvips' own options
    load = {
        Format.JPEG: pyvips.Image.jpegload,
        Format.PNG: pyvips.Image.pngload,
        Format.WEBP: pyvips.Image.webpload,
        Format.AVIF: pyvips.Image.heifload,
    }[format_]
    # Truncated and corrupt data are errors. Warnings, such as stray bytes between JPEG markers, are common and ignored.
    return load(str(path), access="sequential", fail_on="error", **options)


def _shrink_options(format_: Format, factor: int) -> dict[str, Any]:
    if factor == 1:
        return {}
    return {"shrink": factor} if format_ is Format.JPEG else {"scale": 1 / factor}
