"""TIFF 6.0: one page."""

import struct
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from pixelflow.imaging.fields import Flag
from pixelflow.imaging.format import EncoderOptions, Format, OutputEnds, require
from pixelflow.imaging.formats.tiff.directory import is_camera_raw

_WIDTH, _HEIGHT = 256, 257
_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""Of TIFF and BigTIFF, in either byte order."""


def _read_size(ends: OutputEnds) -> tuple[int, int]:
    """Read the first directory, which libtiff writes behind the pixels: the header has the offset."""
    require(ends.head[:4] == b"II*\0")
    (at,) = struct.unpack_from("<I", ends.head, 4)
    require(8 <= at < ends.size)  # noqa: PLR2004  # the header has 8 bytes
    start = at - (ends.size - len(ends.tail))
    data, place = (ends.tail, start) if start >= 0 else (ends.head, at)
    (count,) = struct.unpack_from("<H", data, place)
    sizes = {}
    for entry in range(count):
        tag, kind = struct.unpack_from("<HH", data, place + 2 + 12 * entry)
        if tag in {_WIDTH, _HEIGHT}:
            (sizes[tag],) = struct.unpack_from("<H" if kind == 3 else "<I", data, place + 10 + 12 * entry)  # noqa: PLR2004
    return sizes[_WIDTH], sizes[_HEIGHT]


class Compression(StrEnum):
    """A compression of TIFF."""

    NONE = "none"
    LZW = "lzw"
    DEFLATE = "deflate"
    JPEG = "jpeg"


class TiffOptions(EncoderOptions):
    """The options of the TIFF encoder."""

    compression: Annotated[
        Compression, Field(description="`lzw` and `deflate` keep every pixel; `jpeg` does not, and uses `quality`.")
    ] = Compression.LZW
    tile: Annotated[Flag, Field(description="Whether to store tiles of 256 × 256 pixels in place of rows.")] = False


FORMAT = Format(
    name="tiff",
    label="TIFF",
    extension="tiff",
    aliases=("tif",),
    media_type="image/tiff",
    since=2,
    reads_since=2,
    matches=lambda head: head.startswith(_MARKS) and not is_camera_raw(head),
    pages=True,
    options=TiffOptions,
    default_quality=80,
    encoder_bytes=8,
    read_size=_read_size,
)
