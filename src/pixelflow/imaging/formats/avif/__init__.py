"""AVIF (AV1 Image File Format 1.2)."""

import struct
from typing import Annotated, Literal

from pydantic import Field

from pixelflow.imaging.fields import Flag
from pixelflow.imaging.format import CHROMA_DESCRIPTION, Chroma, EncoderOptions, Format, OutputEnds, require

_BRANDS = {b"avif", b"avis"}


def _matches(head: bytes) -> bool:
    """Whether the major or a compatible brand of the `ftyp` box (ISO/IEC 14496-12) is one of AVIF's."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return head[4:8] == b"ftyp" and not _BRANDS.isdisjoint(head[start : start + 4] for start in range(8, end, 4))


def _read_size(ends: OutputEnds) -> tuple[int, int]:
    require(ends.head[4:8] == b"ftyp" and ends.head[8:12] == b"avif")
    at = ends.head.find(b"ispe")
    require(at >= 0)
    width, height = struct.unpack_from(">II", ends.head, at + 8)
    return width, height


class AvifOptions(EncoderOptions):
    """The options of the AVIF encoder."""

    chroma: Annotated[Chroma, Field(description=CHROMA_DESCRIPTION)] = Chroma.AUTO
    effort: Annotated[
        int | None, Field(strict=True, ge=0, le=9, description="CPU time for smaller files: 0 to 9. Default: 0.")
    ] = None
    lossless: Annotated[Flag, Field(description="Whether every pixel is kept. `quality` is ignored.")] = False
    bit_depth: Annotated[
        Literal[8, 10, 12],
        Field(
            description="Bits per channel: 8, 10 or 12. With more than 8, all steps that lead to the output work with "
            "16 bits if the source has more than 8, and gradients band less."
        ),
    ] = 8


FORMAT = Format(
    name="avif",
    label="AVIF",
    extension="avif",
    media_type="image/avif",
    wide=True,
    matches=_matches,
    decoder_bytes=14,
    decodes_whole=True,
    options=AvifOptions,
    max_side=16_384,  # libheif's default limit
    default_quality=50,
    encoder_bytes=28,
    read_size=_read_size,
)
