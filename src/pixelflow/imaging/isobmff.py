"""The boxes of AVIF and HEIF files (ISO/IEC 14496-12 and 23008-12): items of a file, and their properties.

Files are untrusted: every function may raise ``LookupError`` or ``struct.error``. What is read of a list is bounded,
and lists that are searched repeatedly are read once, so that the time is proportional to the size of `meta`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import NamedTuple

_MAX_BOXES = 64
_MAX_POSITION = 1 << 62
"""In a file. Sizes of boxes have 64 bits, and positions 63."""
_MAX_META_BYTES = 1 << 20
"""Of the box `meta`. That of a panorama of 1000 tiles has 100 KB."""
_MAX_ITEMS = 1 << 14
"""Entries that are read of a list of items. A panorama of 100 megapixels has some 400."""
_MAX_PROPERTIES = 0x7FFF
"""Indexes of properties have at most 15 bits."""
_MAX_PROPERTY_BYTES = 1024
"""That are read of a property. Those that are used here have less than 100; libvips reads color profiles itself."""
_MAX_EXTENTS = 256
"""Parts of the data of an item. Encoders write one, and a camera that writes while it encodes some more."""
_IN_FILE, _IN_META = 0, 1
"""Construction methods of `iloc`: the data of an item are in the file, or in the box `idat`."""


class FileBox(NamedTuple):
    """A box in a block of bytes: its type, and where its content starts and ends."""

    kind: bytes
    start: int
    end: int


class Property(NamedTuple):
    """A property of an item."""

    kind: bytes
    content: bytes
    position: int
    """Of the index in the list of the item's properties, in `Meta.data`."""
    width: int
    """Bytes of the index."""


class Reference(NamedTuple):
    """A reference from one item to others."""

    kind: bytes
    source: int
    targets: tuple[int, ...]


class Place(NamedTuple):
    """A part of the data of an item."""

    method: int
    """Construction method: what the offset counts from."""
    offset: int
    length: int


@dataclass(frozen=True)
class Meta:
    """The box `meta`, which describes the items of a file."""

    data: bytes
    """Its content, without version and flags."""
    offset: int
    """Of the data in the file."""

    @cached_property
    def primary(self) -> int:
        """The item that is the picture."""
        _, start, _ = self._child("pitm")
        return int(self._number(start + 4, wide=self.data[start] > 0))

    def properties(self, item: int) -> Iterator[Property]:
        """Yield the properties of an item in order, with the first KiB of each."""
        width, entries = self._associations
        position, number = entries.get(item, (0, 0))
        for place in range(position, position + number * width, width):
            index = int.from_bytes(self.data[place : place + width], "big") & (0x7FFF if width == 2 else 0x7F)  # noqa: PLR2004 - bytes
            if 0 < index <= len(self._known):
                kind, start, end = self._known[index - 1]
                yield Property(kind, self.data[start : min(end, start + _MAX_PROPERTY_BYTES)], place, width)

    @cached_property
    def _known(self) -> list[FileBox]:
        """The properties of all items."""
        _, start, end = _child(self.data, "ipco", self._child("iprp"))
        return list(islice(_boxes(self.data, start, end), _MAX_PROPERTIES))

    @cached_property
    def _associations(self) -> tuple[int, dict[int, tuple[int, int]]]:
        """Width of each index in `ipma`; by item, where its indexes begin, and how many there are."""
        box = _child(self.data, "ipma", self._child("iprp"))
        version, flags, count = struct.unpack_from(">B2xBI", self.data, box.start)
        position, width = box.start + 8, 2 if flags & 1 else 1
        found: dict[int, tuple[int, int]] = {}
        for _ in range(min(count, _MAX_ITEMS)):
            if position >= len(self.data):
                break
            item = self._number(position, wide=version > 0)
            position += 4 if version else 2
            number = self.data[position]
            found.setdefault(item, (position + 1, number))
            position += 1 + number * width
        return width, found

    def references(self) -> Iterator[Reference]:
        """Yield the references between items (`iref`)."""
        try:
            _, start, end = self._child("iref")
        except LookupError:
            return
        wide = self.data[start] > 0
        size = 4 if wide else 2
        for kind, position, last in islice(_boxes(self.data, start + 4, end), _MAX_ITEMS):
            (count,) = struct.unpack_from(">H", self.data, position + size)
            first = position + size + 2
            places = range(first, first + min(count, (last - first) // size) * size, size)
            targets = tuple(self._number(place, wide=wide) for place in places)
            yield Reference(kind, self._number(position, wide=wide), targets)

    def kinds(self) -> Iterator[tuple[int, bytes]]:
        """Yield number and type of each item, such as `hvc1` or `Exif`."""
        _, start, end = self._child("iinf")
        first = start + (8 if self.data[start] else 6)
        for _, position, _ in islice(_boxes(self.data, first, end), _MAX_ITEMS):
            wide = self.data[position] > 2  # noqa: PLR2004 - version
            after = position + (8 if wide else 6)
            yield self._number(position + 4, wide=wide), self.data[after + 2 : after + 6]

    def position(self, item: int) -> int:
        """Return where the data of an item begin in the file."""
        place = next((each for each in self._places(item) if each.method == _IN_FILE), None)
        if place is None:
            raise LookupError("iloc")
        return place.offset

    def content(self, item: int, descriptor: int, limit: int) -> bytes:
        """Read the data of an item, at most ``limit`` bytes."""
        parts, left = [], limit
        for method, offset, length in self._places(item):
            size = min(length or limit, left)
            parts.append(self._read(method, offset, size, descriptor))
            left -= size
        return b"".join(parts)

    def _read(self, method: int, offset: int, size: int, descriptor: int) -> bytes:
        if method == _IN_FILE:
            return os.pread(descriptor, size, offset)
        if method != _IN_META:
            raise LookupError("iloc")
        _, start, end = self._child("idat")
        return self.data[start + offset : min(start + offset + size, end)]

    def _places(self, item: int) -> list[Place]:
        """Return where the data of an item are."""
        _, start, _ = self._child("iloc")
        version, sizes, more = struct.unpack_from(">B3x2B", self.data, start)
        offset_size, length_size, base_size = sizes >> 4, sizes & 15, more >> 4
        index_size, wide = more & 15 if version else 0, version > 1
        place = start + 6
        count, place = self._number(place, wide=wide), place + (4 if wide else 2)
        for _ in range(min(count, _MAX_ITEMS)):
            found, place = self._number(place, wide=wide), place + (4 if wide else 2)
            method, place = (self.data[place + 1] & 15, place + 2) if version else (_IN_FILE, place)
            base = self._integer(place + 2, base_size)
            place += 2 + base_size
            extents, place = self._number(place, wide=False), place + 2
            width = index_size + offset_size + length_size
            if found == item:
                starts = [place + each * width + index_size for each in range(min(extents, _MAX_EXTENTS))]
                return [
                    Place(
                        method,
                        min(base + self._integer(at, offset_size), _MAX_POSITION),
                        self._integer(at + offset_size, length_size),
                    )
                    for at in starts
                ]
            place += extents * width
        raise LookupError("iloc")

    def _integer(self, position: int, width: int) -> int:
        return int.from_bytes(self.data[position : position + width], "big")

    def _number(self, position: int, *, wide: bool) -> int:
        return int(struct.unpack_from(">I" if wide else ">H", self.data, position)[0])

    def _child(self, kind: str) -> FileBox:
        return _child(self.data, kind, FileBox(b"meta", 0, len(self.data)))


def read_meta(descriptor: int) -> Meta:
    """Read the box `meta` of a file."""
    position = 0
    for _ in range(_MAX_BOXES):
        head = os.pread(descriptor, 16, position)
        kind, start, end = _bounds(head, 0, _MAX_POSITION)
        if kind == b"meta":
            content = os.pread(descriptor, min(end - start, _MAX_META_BYTES), position + start)
            return Meta(content[4:], position + start + 4)
        position += end
        if position >= _MAX_POSITION:
            break
    raise LookupError("meta")


def _child(data: bytes, kind: str, parent: FileBox) -> FileBox:
    found = next((box for box in _boxes(data, parent.start, parent.end) if box.kind == kind.encode()), None)
    if found is None:
        raise LookupError(kind)
    return found


def _boxes(data: bytes, start: int, end: int) -> Iterator[FileBox]:
    end = min(end, len(data))
    while start + 8 <= end:
        kind, content, length = _bounds(data, start, end - start)
        yield FileBox(kind, start + content, min(start + length, end))
        start += length


def _bounds(data: bytes, position: int, rest: int) -> tuple[bytes, int, int]:
    """Return type, start of the content and length of a box, relative to its own start."""
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
