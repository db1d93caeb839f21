"""Values of EXIF, the TIFF structure that cameras and editors store (CIPA DC-008)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Literal

_MARKER = b"Exif\0\0"
"""In front of the structure in JPEG files."""
_ORIENTATION, ARTIST, COPYRIGHT = 0x0112, 0x013B, 0x8298
_EXIF_DIRECTORY, _MAKER_NOTE = 0x8769, 0x927C
_ASCII, _SHORT, _LONG = 2, 3, 4
_INLINE_BYTES = 4
_LAST_ORIENTATION = 8


def orientation_of(exif: bytes) -> int | None:
    """Return the orientation, 1 to 8, or ``None`` if there is none or the structure is damaged."""
    for tag, kind, value in _entries(exif):
        if tag == _ORIENTATION and kind in {_SHORT, _LONG}:
            number = int.from_bytes(value[: 2 if kind == _SHORT else 4], _byteorder(exif))
            return number if 1 <= number <= _LAST_ORIENTATION else None
    return None


def text_of(exif: bytes, tag: int) -> str:
    """Return the text of a tag of the first directory, or an empty one."""
    found = next((value for each, kind, value in _entries(exif) if each == tag and kind == _ASCII), b"")
    parts = (part.decode("utf-8", "replace").strip() for part in found.split(b"\0"))
    return "; ".join(part for part in parts if part)


def without_thumbnail(exif: bytes) -> bytes:
    """Remove the reference to the second directory, which is that of the thumbnail."""
    start = len(exif) - len(exif.removeprefix(_MARKER))
    order = "<" if _byteorder(exif) == "little" else ">"
    try:
        (directory,) = struct.unpack_from(f"{order}I", exif, start + 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start + directory)
    except struct.error:
        return exif
    link = start + directory + 2 + 12 * count
    return exif[:link] + bytes(len(exif[link : link + 4])) + exif[link + 4 :]


def without_maker_note(exif: bytes) -> bytes:
    """Set the bytes of the maker's notes to zero. Their form is the maker's own; many have a preview."""
    made, start = bytearray(exif), len(exif) - len(exif.removeprefix(_MARKER))
    order = "<" if _byteorder(exif) == "little" else ">"
    try:
        (first,) = struct.unpack_from(f"{order}I", exif, start + 4)
        for tag, _, at in _values(exif, start, first, order):
            if tag == _EXIF_DIRECTORY:
                for inner, length, place in _values(exif, start, at, order):
                    if inner == _MAKER_NOTE and length > _INLINE_BYTES:
                        part = slice(start + place, start + place + length)
                        made[part] = bytes(len(made[part]))
    except struct.error:
        return bytes(made)
    return bytes(made)


def _values(exif: bytes, start: int, directory: int, order: str) -> Iterator[tuple[int, int, int]]:
    """Yield tag, number of values and offset, or the value, of the entries of a directory."""
    (count,) = struct.unpack_from(f"{order}H", exif, start + directory)
    for place in range(start + directory + 2, start + directory + 2 + 12 * count, 12):
        tag, _, length, at = struct.unpack_from(f"{order}HHII", exif, place)
        yield tag, length, at


def _byteorder(exif: bytes) -> Literal["little", "big"]:
    return "little" if exif.removeprefix(_MARKER).startswith(b"II") else "big"


def _entries(exif: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield tag, type and value of the entries of the first directory."""
    data = exif.removeprefix(_MARKER)
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return
    try:
        (directory,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, directory)
        for place in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind, length, at = struct.unpack_from(f"{order}HHII", data, place)
            if kind == _ASCII and length > _INLINE_BYTES:
                yield tag, kind, data[at : at + length]
            else:
                yield tag, kind, data[place + 8 : place + 8 + _INLINE_BYTES][: length if kind == _ASCII else None]
    except struct.error:
        return
