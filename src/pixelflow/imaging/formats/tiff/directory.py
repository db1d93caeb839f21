"""The first directory of a TIFF file (TIFF 6.0), which camera RAW formats use too."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping

_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_MAX_ENTRIES = 200
_DIRECTORY_BYTES = 2 + 12 * _MAX_ENTRIES
_SUBFILE_TYPE, _PHOTOMETRIC, _MAKE, _SUB_IFDS, _DNG_VERSION = 254, 262, 271, 330, 50706
_REDUCED, _COLOR_FILTER_ARRAY = 1, 32803
_TILE_OFFSETS, _TILE_SIZES = 324, 325
_NUMBERS = {3: ("H", 2), 4: ("I", 4)}
"""Types SHORT and LONG: format and bytes."""
_MAX_TILES = 1 << 17
"""Of a file in which empty ones are searched."""


def is_camera_raw(head: bytes) -> bool:
    """Whether the directory says that the file holds data of a sensor.

    DNG has its version; Canon's CR2 has a mark; the others have a preview in the first directory, of which the photo in
    a sub-directory is the original.
    """
    tags = read_tags(head)
    if _DNG_VERSION in tags or (tags and head[8:10] == b"CR"):
        return True
    is_preview = tags.get(_SUBFILE_TYPE) == _REDUCED and _SUB_IFDS in tags and _MAKE in tags
    return is_preview or tags.get(_PHOTOMETRIC) == _COLOR_FILTER_ARRAY


def read_tags(head: bytes) -> Mapping[int, int]:
    """Return the tags of the first directory with their first value, or its offset; empty if it is not in ``head``."""
    order = _BYTE_ORDERS.get(head[:4])
    if order is None:
        return {}
    try:
        (at,) = struct.unpack_from(f"{order}I", head, 4)
    except struct.error:
        return {}
    return _tags(head[at : at + _DIRECTORY_BYTES], order)


def read_file_tags(descriptor: int) -> Mapping[int, int]:
    """Return the tags of the first directory of a file, wherever it is; empty if it has none."""
    return _tags(*_read_directory(descriptor))


def is_sparse(descriptor: int) -> bool:
    """Whether the first directory leaves out empty tiles, as GDAL does: they have neither offset nor size.

    The other tiles must be in the file, or it is damaged.
    """
    directory, order = _read_directory(descriptor)
    offsets, sizes = (_read_values(descriptor, directory, order, tag) for tag in (_TILE_OFFSETS, _TILE_SIZES))
    tiles = set(zip(offsets, sizes, strict=False))
    written = tiles - {(0, 0)}
    end = os.fstat(descriptor).st_size
    return written < tiles and all(offset and size and offset + size <= end for offset, size in written)


def _read_directory(descriptor: int) -> tuple[bytes, str]:
    """Read the first directory, and the byte order; empty if there is none."""
    order = _BYTE_ORDERS.get(os.pread(descriptor, 4, 0))
    if order is None:
        return b"", "<"
    at = int.from_bytes(os.pread(descriptor, 4, 4), "little" if order == "<" else "big")
    return os.pread(descriptor, _DIRECTORY_BYTES, at), order


def _read_values(descriptor: int, directory: bytes, order: str, wanted: int) -> tuple[int, ...]:
    """Read all values of a tag; none if it has another type, or too many of them."""
    for at in _entries(directory, order):
        tag, kind, count = struct.unpack_from(f"{order}HHI", directory, at)
        if tag == wanted and kind in _NUMBERS and count <= _MAX_TILES:
            format_, width = _NUMBERS[kind]
            (offset,) = struct.unpack_from(f"{order}I", directory, at + 8)
            inside = count * width <= 4  # noqa: PLR2004  # bytes in place of the offset
            data = directory[at + 8 : at + 8 + count * width] if inside else os.pread(descriptor, count * width, offset)
            return struct.unpack_from(f"{order}{len(data) // width}{format_}", data)
    return ()


def _tags(directory: bytes, order: str) -> dict[int, int]:
    return dict(_entry(directory, order, at) for at in _entries(directory, order))


def _entries(directory: bytes, order: str) -> range:
    """Return the positions of the entries."""
    if len(directory) < 2:  # noqa: PLR2004  # the number of entries
        return range(0)
    (count,) = struct.unpack_from(f"{order}H", directory)
    present = min(count, _MAX_ENTRIES, (len(directory) - 2) // 12)
    return range(2, 2 + 12 * present, 12)


def _entry(directory: bytes, order: str, at: int) -> tuple[int, int]:
    tag, kind = struct.unpack_from(f"{order}HH", directory, at)
    (value,) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", directory, at + 8)  # noqa: PLR2004  # SHORT
    return tag, value
