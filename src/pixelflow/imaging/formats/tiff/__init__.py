"""TIFF 6.0: one page."""

import struct
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from pixelflow.cross_field import CrossFieldError, fields_of, validate
from pixelflow.imaging.fields import Flag
from pixelflow.imaging.format import BitDepth, EncoderOptions, Format, OutputEnds, require
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


def _errors(options: object) -> Iterator[CrossFieldError]:
    fields = fields_of(options)
    if fields and fields.get("bit_depth") == 16 and fields.get("compression") == Compression.JPEG:  # noqa: PLR2004
        yield ("bit_depth",), "must be 8 with the compression `jpeg`"


class TiffOptions(EncoderOptions):
    """The options of the TIFF encoder."""

    fields_since: ClassVar = {"bit_depth": 2}

    bit_depth: BitDepth = 8
    compression: Annotated[
        Compression, Field(description="`lzw` and `deflate` keep every pixel; `jpeg` does not, and uses `quality`.")
    ] = Compression.LZW
    tile: Annotated[Flag, Field(description="Whether to store tiles of 256 × 256 pixels in place of rows.")] = False

    @model_validator(mode="wrap")
    @classmethod
    def _check(
        cls,
        value: Any,  # noqa: ANN401 - any input
        handler: ModelWrapValidatorHandler[Self],
    ) -> Self:
        return validate(value, handler, _errors)


FORMAT = Format(
    name="tiff",
    label="TIFF",
    extension="tiff",
    aliases=("tif",),
    media_type="image/tiff",
    since=2,
    reads_since=2,
    wide=True,
    matches=lambda head: head.startswith(_MARKS) and not is_camera_raw(head),
    pages=True,
    options=TiffOptions,
    default_quality=80,
    encoder_bytes=8,
    read_size=_read_size,
)
