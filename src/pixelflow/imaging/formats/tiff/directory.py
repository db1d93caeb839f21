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
    order = _BYTE_ORDERS.get(os.pread(descriptor, 4, 0))
    if order is None:
        return {}
    at = int.from_bytes(os.pread(descriptor, 4, 4), "little" if order == "<" else "big")
    return _tags(os.pread(descriptor, _DIRECTORY_BYTES, at), order)


def _tags(directory: bytes, order: str) -> dict[int, int]:
    if len(directory) < 2:  # noqa: PLR2004  # the number of entries
        return {}
    (count,) = struct.unpack_from(f"{order}H", directory)
    present = min(count, _MAX_ENTRIES, (len(directory) - 2) // 12)
    return dict(_entry(directory, order, 2 + 12 * place) for place in range(present))


def _entry(directory: bytes, order: str, at: int) -> tuple[int, int]:
    tag, kind = struct.unpack_from(f"{order}HH", directory, at)
    (value,) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", directory, at + 8)  # noqa: PLR2004  # SHORT
    return tag, value
