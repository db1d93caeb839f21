"""Color properties of AVIF and HEIF files (ISO/IEC 14496-12 and 23008-12). libvips reads only their ICC profiles."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pixelflow.imaging.colour.cicp import CodePoints

_MAX_BOXES = 64
_MAX_META_BYTES = 1 << 20
"""Of the box `meta`. That of a panorama of 1000 tiles has 100 KB."""
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
        properties = _properties_of_primary(_meta(descriptor))
    except (struct.error, LookupError):
        return HeifColor()
    points = next((found for kind, body in properties if kind == b"colr" and (found := _nclx(body))), None)
    monochrome = any(kind == b"av1C" and body[2:3] and body[2] & _MONOCHROME for kind, body in properties)
    return HeifColor(points, monochrome)


def _properties_of_primary(meta: bytes) -> list[tuple[bytes, bytes]]:
    properties = _child(meta, b"iprp")
    boxes = list(_boxes(_child(properties, b"ipco")))
    indexes = _properties_of(_child(properties, b"ipma"), _primary_item(meta))
    return [boxes[index - 1] for index in indexes if 0 < index <= len(boxes)]


def _nclx(body: bytes) -> CodePoints | None:
    if body[:4] != b"nclx" or len(body) < _NCLX_BYTES:
        return None
    primaries, transfer, matrix, flags = struct.unpack_from(">HHHB", body, 4)
    return CodePoints(primaries, transfer, matrix, bool(flags & 0x80))


def _meta(descriptor: int) -> bytes:
    """Return the content of the box `meta`, without its version and flags."""
    position = 0
    for _ in range(_MAX_BOXES):
        head = os.pread(descriptor, 16, position)
        kind, start, end = _box_bounds(head, 0, 1 << 62)
        if kind == b"meta":
            return os.pread(descriptor, min(end - start, _MAX_META_BYTES), position + start)[4:]
        position += end
    raise LookupError("meta")


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position + 8 <= len(data):
        kind, start, end = _box_bounds(data, position, len(data) - position)
        yield kind, data[position + start : position + end]
        position += end


def _box_bounds(data: bytes, position: int, rest: int) -> tuple[bytes, int, int]:
    """Return type, start of the content and end of a box, relative to its own start."""
    size, kind = struct.unpack_from(">I4s", data, position)
    start = 8
    if size == 1:
        (size,) = struct.unpack_from(">Q", data, position + 8)
        start = 16
    if size == 0:
        size = rest
    if size < start:
        raise LookupError("box")
    return kind, start, size


def _child(data: bytes, name: bytes) -> bytes:
    return next((body for kind, body in _boxes(data) if kind == name), b"")


def _primary_item(meta: bytes) -> int:
    body = _child(meta, b"pitm")
    return int(struct.unpack_from(">I" if body[:1] > b"\0" else ">H", body, 4)[0])


def _properties_of(associations: bytes, item: int) -> Iterator[int]:
    """Yield the property indexes of an item, from the content of the box `ipma`."""
    version, flags, count = struct.unpack_from(">B2xBI", associations)
    wide_ids, wide_indexes, position = version > 0, bool(flags & 1), 8
    for _ in range(count):
        (found,) = struct.unpack_from(">I" if wide_ids else ">H", associations, position)
        position += 4 if wide_ids else 2
        (number,) = struct.unpack_from(">B", associations, position)
        form = f">{number}{'H' if wide_indexes else 'B'}"
        indexes = struct.unpack_from(form, associations, position + 1)
        position += 1 + struct.calcsize(form)
        if found == item:
            yield from (index & (0x7FFF if wide_indexes else 0x7F) for index in indexes)
            return
