"""AVIF (AV1 Image File Format 1.2)."""

import struct

from pixelflow.imaging.format import EncoderOptions, Format, OutputEnds, require

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


FORMAT = Format(
    name="avif",
    label="AVIF",
    extension="avif",
    media_type="image/avif",
    matches=_matches,
    decoder_bytes=14,
    decodes_whole=True,
    options=AvifOptions,
    max_side=16_384,  # libheif's default limit
    default_quality=50,
    encoder_bytes=28,
    read_size=_read_size,
)
