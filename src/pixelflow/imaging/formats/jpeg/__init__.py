"""JPEG (ISO/IEC 10918-1)."""

import struct
from typing import Annotated

from pydantic import Field

from pixelflow.imaging.fields import Flag
from pixelflow.imaging.format import CHROMA_DESCRIPTION, Chroma, EncoderOptions, Format, OutputEnds, require

_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def _read_size(ends: OutputEnds) -> tuple[int, int]:
    require(ends.head[:2] == b"\xff\xd8" and ends.tail[-2:] == b"\xff\xd9")
    position = 2
    while True:
        require(ends.head[position] == 0xFF)  # noqa: PLR2004  # a marker
        marker, length = struct.unpack_from(">BH", ends.head, position + 1)
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", ends.head, position + 5)
            return width, height
        position += 2 + length


class JpegOptions(EncoderOptions):
    """The options of the JPEG encoder."""

    chroma: Annotated[Chroma, Field(description=CHROMA_DESCRIPTION)] = Chroma.AUTO
    progressive: Annotated[
        Flag, Field(description="Whether the picture appears in full, coarse at first, while it loads.")
    ] = False
    optimize: Annotated[Flag, Field(description="Whether Huffman tables are computed for the image.")] = False
    trellis: Annotated[
        Flag,
        Field(description="Whether to use trellis quantization: some 10 % smaller, for 10 times the CPU."),
    ] = False


FORMAT = Format(
    name="jpeg",
    label="JPEG",
    extension="jpg",
    aliases=("jpg",),
    media_type="image/jpeg",
    matches=lambda head: head.startswith(b"\xff\xd8\xff"),
    max_shrink=8,  # libjpeg's inverse DCT, in blocks of 8 pixels
    shrink_rounds_up=True,
    limits_scans=True,
    decoder_bytes=6,  # the coefficients of a progressive JPEG have 16 bits
    options=JpegOptions,
    max_side=65_500,  # libjpeg's JPEG_MAX_DIMENSION
    default_quality=80,
    alpha=False,
    gain_maps=True,
    read_size=_read_size,
)
