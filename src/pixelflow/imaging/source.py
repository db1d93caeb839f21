"""The source image: format detection, limits and decoding.

Formats are detected by their first bytes, never by a file name, and only the four supported decoders may be used. Of an
image with several frames the first is used; the pixel limit counts all frames. The source is a descriptor: the process
that decodes can open no file of a user.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from typing import Any

import pyvips

from pixelflow.errors import TooManyPixelsError, TooManyScansError, UnsupportedFormatError
from pixelflow.imaging.errors import map_decode_errors
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.picture import Picture, orientation, upright_size
from pixelflow.imaging.pipeline import Format
from pixelflow.imaging.protocol import TransformLimits

_SIGNATURE_BYTES = 64
"""Enough for every signature, including the list of brands in the `ftyp` box of AVIF."""
_MAX_SHRINK_ON_LOAD = {Format.JPEG: 8, Format.PNG: 1, Format.WEBP: 8, Format.AVIF: 1}
"""Largest reduction by the decoder itself: up to 8 by libjpeg's inverse DCT; libwebp rescales while decoding."""
_START_OF_SCAN = b"\xff\xda"


@dataclass(frozen=True)
class SourceImage:
    """An image file within the limits. Pixels are decoded on demand."""

    descriptor: int
    format: Format
    size: Size
    """Pixels, upright."""
    bytes_per_pixel: int
    """Of the decoded image."""
    whole: bool
    """Whether the decoder keeps the whole picture, as for a progressive JPEG or an interlaced PNG."""
    turned: bool
    """Whether the picture is stored in another orientation than upright."""

    def decode(self, shrink: int = 1) -> Picture:
        """Decode as a stream, reduced by ``shrink`` (a power of two), as far as possible by the decoder itself.

        The image made before must be used no more: all share the position in the file.

        Raises:
            UndecodableError: the file is damaged. Damage beyond the header is detected when pixels are computed.
        """
        on_load = on_load_shrink(self.format, shrink)
        with map_decode_errors(self.format):
            image = _load(self.descriptor, self.format, **_shrink_options(self.format, on_load))
        return Picture(image, self.size).box_shrink(shrink // on_load)

    def check(self) -> None:
        """Decode all pixels and discard them.

        Raises:
            UndecodableError: the file is damaged.
        """
        with map_decode_errors(self.format):
            self.decode().image.avg()


def on_load_shrink(format_: Format, shrink: int) -> int:
    """Return the part of ``shrink`` that the decoder of the format does itself."""
    return min(shrink, _MAX_SHRINK_ON_LOAD[format_])


def open_source(descriptor: int, limits: TransformLimits) -> SourceImage:
    """Read the header of the file.

    Raises:
        UnsupportedFormatError: the file is not an image in a supported format.
        UndecodableError: the header is damaged.
        TooManyPixelsError: width × height × frames is more than ``max_source_pixels``.
        TooManyScansError: a progressive JPEG has more than ``max_jpeg_scans`` scans.
    """
    format_ = _detect_format(descriptor)
    with map_decode_errors(format_):
        image = _load(descriptor, format_)
    size = upright_size(image)
    frames = int(image.get("n-pages")) if image.get_typeof("n-pages") else 1
    if size.pixels * frames > limits.max_source_pixels:
        per_frame = f" in each of {frames} frames" if frames > 1 else ""
        raise TooManyPixelsError(
            f"The source has {size.width} × {size.height} pixels{per_frame}; "
            f"the limit is {limits.max_source_pixels} pixels"
        )
    whole = bool(image.get_typeof("interlaced") and image.get("interlaced"))
    if whole and format_ is Format.JPEG:
        _check_scans(descriptor, limits.max_jpeg_scans)
    pixel_bytes = image.bands * (2 if image.format == "ushort" else 1)
    return SourceImage(descriptor, format_, size, pixel_bytes, whole, orientation(image) != 1)


def _check_scans(descriptor: int, limit: int) -> None:
    """Count markers instead of decoding scans: entropy-coded data has a zero after each 0xFF, so none is in it."""
    with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as data:
        scans, position = 0, data.find(_START_OF_SCAN)
        while position >= 0:
            scans += 1
            if scans > limit:
                raise TooManyScansError(f"The source has more than {limit} scans; save it with fewer, or as baseline")
            position = data.find(_START_OF_SCAN, position + 2)


def _detect_format(descriptor: int) -> Format:
    head = os.pread(descriptor, _SIGNATURE_BYTES, 0)
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


def _load(descriptor: int, format_: Format, **options: Any) -> pyvips.Image:  # noqa: ANN401 - libvips' own options
    load = {
        Format.JPEG: pyvips.Image.jpegload_source,
        Format.PNG: pyvips.Image.pngload_source,
        Format.WEBP: pyvips.Image.webpload_source,
        Format.AVIF: pyvips.Image.heifload_source,
    }[format_]
    os.lseek(descriptor, 0, os.SEEK_SET)
    source = pyvips.Source.new_from_descriptor(descriptor)
    # Truncated and corrupt data are errors. Warnings, such as stray bytes between JPEG markers, are common and ignored.
    return load(source, access="sequential", fail_on="error", **options)


def _shrink_options(format_: Format, factor: int) -> dict[str, Any]:
    if factor == 1:
        return {}
    return {"shrink": factor} if format_ is Format.JPEG else {"scale": 1 / factor}
