"""GIF89a, still or animated."""

import struct
from typing import Annotated

from pydantic import Field

from pixelflow.imaging.format import EncoderOptions, Format, OutputEnds, require

_TRAILER = b"\x3b"


def _read_size(ends: OutputEnds) -> tuple[int, int]:
    require(ends.head[:6] in {b"GIF87a", b"GIF89a"} and ends.tail[-1:] == _TRAILER)
    width, height = struct.unpack_from("<HH", ends.head, 6)
    return width, height


class GifOptions(EncoderOptions):
    """The options of the GIF encoder."""

    colors: Annotated[
        int,
        Field(strict=True, ge=2, le=256, description="Colors of the palette: 2 to 256, rounded up to a power of two."),
    ] = 256
    dither: Annotated[
        float, Field(strict=True, ge=0, le=1, allow_inf_nan=False, description="Strength of the dithering: 0 to 1.")
    ] = 1.0
    effort: Annotated[
        int | None, Field(strict=True, ge=1, le=10, description="CPU time for a better palette: 1 to 10. Default: 4.")
    ] = None


FORMAT = Format(
    name="gif",
    label="GIF",
    extension="gif",
    media_type="image/gif",
    since=2,
    reads_since=2,
    matches=lambda head: head.startswith((b"GIF87a", b"GIF89a")),
    decoder_bytes=12,
    moves=True,
    options=GifOptions,
    encoder_bytes=8,
    profiles=False,
    animation=True,
    read_size=_read_size,
)
