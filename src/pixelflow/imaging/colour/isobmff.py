"""Color properties of AVIF and HEIF files. libvips reads only their ICC profiles."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pixelflow.imaging.colour.cicp import CodePoints
from pixelflow.imaging.isobmff import read_meta

_NCLX_BYTES = 11
_MONOCHROME = 0x10
"""In the third byte of `av1C` (AV1-ISOBMFF, 2.3.3)."""


@dataclass(frozen=True)
class HeifColor:
    """What the properties of the primary picture say of its color."""

    code_points: CodePoints | None = None
    """Of the box `colr` of type `nclx`. The range is that of the coded values, which decoders stretch."""
    monochrome: bool = False
    """Whether an AV1 picture has no channels of color."""


def read_color(descriptor: int) -> HeifColor:
    """Read the properties of the primary picture; a damaged file states nothing."""
    try:
        meta = read_meta(descriptor)
        properties = list(meta.properties(meta.primary))
    except (struct.error, LookupError):
        return HeifColor()
    points = (_nclx(each.content) for each in properties if each.kind == b"colr")
    configurations = (each.content for each in properties if each.kind == b"av1C")
    return HeifColor(
        next((found for found in points if found), None),
        any(content[2:3] and content[2] & _MONOCHROME for content in configurations),
    )


def _nclx(body: bytes) -> CodePoints | None:
    if body[:4] != b"nclx" or len(body) < _NCLX_BYTES:
        return None
    primaries, transfer, matrix, flags = struct.unpack_from(">HHHB", body, 4)
    return CodePoints(primaries, transfer, matrix, bool(flags & 0x80))
