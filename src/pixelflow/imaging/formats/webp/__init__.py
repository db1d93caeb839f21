"""WebP (RFC 9649)."""

import struct
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from pixelflow.imaging.fields import Flag
from pixelflow.imaging.format import EncoderOptions, Format, OutputEnds, require


def _read_size(ends: OutputEnds) -> tuple[int, int]:
    riff, length, webp, chunk = struct.unpack_from("<4sI4s4s", ends.head)
    require(riff == b"RIFF" and webp == b"WEBP" and ends.size == length + 8)
    if chunk == b"VP8X":
        width, height = (int.from_bytes(ends.head[at : at + 3], "little") + 1 for at in (24, 27))
    elif chunk == b"VP8L":
        bits = int.from_bytes(ends.head[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        require(chunk == b"VP8 " and ends.head[23:26] == b"\x9d\x01\x2a")
        width, height = (each & 0x3FFF for each in struct.unpack_from("<HH", ends.head, 26))
    return width, height


class WebpChroma(StrEnum):
    """How the color channels are halved."""

    AUTO = "auto"
    HALF = "420"
    SHARP = "sharp"


class WebpOptions(EncoderOptions):
    """The options of the WebP encoder."""

    chroma: Annotated[
        WebpChroma,
        Field(
            description="How lossy WebP halves the resolution of the color channels: `420` averages, `sharp` loses "
            "less at colored edges and takes two to three times the CPU. `auto`: `sharp` from quality 90 on."
        ),
    ] = WebpChroma.AUTO
    lossless: Annotated[Flag, Field(description="Whether every pixel is kept. `quality` is ignored.")] = False
    near_lossless: Annotated[
        Flag,
        Field(
            description="Whether to encode without loss after a slight smoothing, the stronger the lower `quality` is. "
            "Keeps thin colored lines and text; for screenshots and drawings."
        ),
    ] = False
    effort: Annotated[
        int | None, Field(strict=True, ge=0, le=6, description="CPU time for smaller files: 0 to 6. Default: 2.")
    ] = None


FORMAT = Format(
    name="webp",
    label="WebP",
    extension="webp",
    media_type="image/webp",
    matches=lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
    max_shrink=8,  # libwebp rescales while it decodes
    decoder_bytes=11,
    decodes_whole=True,
    moves=True,
    options=WebpOptions,
    max_side=16_383,
    default_quality=80,
    encoder_bytes=14,
    animation=True,
    read_size=_read_size,
)
