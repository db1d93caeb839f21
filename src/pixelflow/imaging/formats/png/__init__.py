"""PNG (ISO/IEC 15948)."""

import struct

from pixelflow.imaging.format import EncoderOptions, Format, OutputEnds, require


def _read_size(ends: OutputEnds) -> tuple[int, int]:
    require(ends.head[:8] == b"\x89PNG\r\n\x1a\n" and ends.head[12:16] == b"IHDR")
    require(ends.tail[-8:-4] == b"IEND")
    width, height = struct.unpack_from(">II", ends.head, 16)
    return width, height


class PngOptions(EncoderOptions):
    """The options of the PNG encoder."""


FORMAT = Format(
    name="png",
    label="PNG",
    extension="png",
    media_type="image/png",
    matches=lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    decoder_bytes=8,
    options=PngOptions,
    max_side=2**31 - 1,
    read_size=_read_size,
)
