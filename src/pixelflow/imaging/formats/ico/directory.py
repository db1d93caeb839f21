"""The directory of a Windows icon, read before any of its images is decoded.

Source: https://learn.microsoft.com/en-us/previous-versions/ms997538(v=msdn.10)
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_PNG = b"\x89PNG\r\n\x1a\n"
_MAX_ENTRIES = 256


class IconEntry(NamedTuple):
    """One image of an icon."""

    width: int
    """As the image itself has it: the directory can't hold more than 256, and can be wrong."""
    height: int
    bits: int
    """Per pixel, all channels."""
    offset: int
    length: int
    is_png: bool


def largest(data: bytes) -> IconEntry:
    """Return the entry with the most pixels, and of these the one with the most bits.

    Raises:
        ValueError: the directory or the header of an image is damaged.
    """
    entries = _entries(data)
    if not entries:
        raise ValueError("the icon has no image")
    return max(entries, key=lambda entry: (entry.width * entry.height, entry.bits))


def _entries(data: bytes) -> list[IconEntry]:
    try:
        _, _, count = struct.unpack_from("<HHH", data)
        return [_entry(data, 6 + 16 * index) for index in range(min(count, _MAX_ENTRIES))]
    except struct.error as error:
        raise ValueError("the directory of the icon is truncated") from error


def _entry(data: bytes, at: int) -> IconEntry:
    bits, length, offset = struct.unpack_from("<HII", data, at + 6)
    if data.startswith(_PNG, offset):
        width, height = struct.unpack_from(">II", data, offset + 16)
        return IconEntry(width, height, bits, offset, length, is_png=True)
    size, width, height, _, bits = struct.unpack_from("<IiiHH", data, offset)
    if size < 40 or width <= 0 or height < 2:  # noqa: PLR2004  # BITMAPINFOHEADER; the height counts picture and mask
        raise ValueError("an image of the icon has no valid header")
    return IconEntry(width, height // 2, bits, offset, length, is_png=False)
