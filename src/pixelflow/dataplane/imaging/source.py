"""The source: what lies in the file, whether it is within the limits, and its one decode.

Formats are told by their first bytes, never by a name, and nothing but the four known decoders may ever be asked. Of a
picture with several frames the first is used; the limit counts all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyvips

from pixelflow.contracts.errors import TooManyPixelsError, UnsupportedFormatError
from pixelflow.contracts.pipeline import Format
from pixelflow.dataplane.imaging.errors import decoding
from pixelflow.dataplane.imaging.geometry import Size
from pixelflow.dataplane.imaging.picture import Picture, upright_size

_SIGNATURE_BYTES = 64
"""Enough for every signature, with the list of brands in an AVIF's `ftyp` box."""
_ON_LOAD = {Format.JPEG: 8, Format.PNG: 1, Format.WEBP: 8, Format.AVIF: 1}
"""The largest reduction by the decoder itself: libjpeg's inverse DCT gives up to 8, libwebp rescales as it decodes."""


@dataclass(frozen=True)
class Source:
    """A file that is a picture within the limits; no pixel is decoded yet."""

    path: Path
    format: Format
    size: Size
    """Pixels, the right way up."""

    def decode(self, shrink: int = 1) -> Picture:
        """Its pixels, streamed, ``shrink`` (a power of two) times smaller: by the decoder itself as far as it can.

        Raises:
            UndecodableError: the file is damaged. Damage further on shows when pixels are computed.
        """
        on_load = min(shrink, _ON_LOAD[self.format])
        with decoding(self.format):
            image = _load(self.path, self.format, **_shrinking(self.format, on_load))
        return Picture(image, self.size).boxed(shrink // on_load)

    def check(self) -> None:
        """Decode everything to nowhere.

        Raises:
            UndecodableError: the file is damaged.
        """
        with decoding(self.format):
            self.decode().image.avg()


def open_source(path: Path, max_pixels: int) -> Source:
    """Look at the head of the file.

    Raises:
        UnsupportedFormatError: it is no picture in a format that PixelFlow reads.
        UndecodableError: its head is damaged.
        TooManyPixelsError: width × height × frames is more than ``max_pixels``.
    """
    format_ = _sniffed(path)
    with decoding(format_):
        image = _load(path, format_)
    size = upright_size(image)
    frames = int(image.get("n-pages")) if image.get_typeof("n-pages") else 1
    if size.pixels * frames > max_pixels:
        each = f" in each of {frames} frames" if frames > 1 else ""
        raise TooManyPixelsError(f"{size.width} × {size.height} pixels{each}; {max_pixels} pixels are allowed")
    return Source(path, format_, size)


def _sniffed(path: Path) -> Format:
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
    raise UnsupportedFormatError("the source is not a JPEG, PNG, WebP or AVIF picture")


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
    # Truncated and corrupt data are errors; mere warnings, as of stray bytes between JPEG markers, are common.
    return load(str(path), access="sequential", fail_on="error", **options)


def _shrinking(format_: Format, times: int) -> dict[str, Any]:
    if times == 1:
        return {}
    return {"shrink": times} if format_ is Format.JPEG else {"scale": 1 / times}
