"""The structure of a JPEG file (ITU-T T.81, annex B), without decoding it.

libjpeg reports damage as warnings, of which libvips passes on only the first. So harmless faults in a file, such as a
missing end marker or stray bytes between segments, would hide that pixels are missing. `repaired` removes them.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pixelflow.imaging.tail import end_without_zeros

_START = b"\xff\xd8"
_END = b"\xff\xd9"
_SOS, _APP0, _APP14 = 0xDA, 0xE0, 0xEE
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers SOF0 to SOF15, without DHT, JPG and DAC."""
_SEGMENTS = frozenset(range(0xC0, 0xFF)) - frozenset(range(0xD0, 0xDA))
"""Markers that a length and a payload follow."""
_COMPONENTS = 5
"""Position of the number of components in the payload of a frame."""
_INKS = 4
_TAIL_BYTES = 4096
_KEPT_ZEROS = 8
"""Zero bytes at the end that may belong to the last scan; more are padding."""


def has_end(descriptor: int) -> bool:
    """Whether the file ends with the end marker, as nearly every JPEG does, or with zeros after it."""
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, _TAIL_BYTES, max(0, size - _TAIL_BYTES)).rstrip(b"\0").endswith(_END)


def repaired(descriptor: int) -> bytearray | None:
    """Return the file without harmless faults, or ``None`` if its segments can't be followed.

    Bytes between the segments before the first scan are left out, unknown values of Adobe's and JFIF's segments are
    replaced by those that decoders assume, and a file without an end marker gets one.
    """
    segments: list[tuple[int, bytes]] = []
    with _mapped(descriptor) as data:
        try:
            scan = _find_first_scan(data, segments)
        except IndexError:
            return None
        frames = [payload for marker, payload in segments if marker in _FRAMES and len(payload) > _COMPONENTS]
        inks = bool(frames) and frames[0][_COMPONENTS] == _INKS
        head = b"".join(_encoded(marker, _known(marker, payload, inks=inks)) for marker, payload in segments)
        if data.rfind(_END, scan) >= 0:
            return bytearray(b"".join((_START, head, data[scan:])))
        return bytearray(b"".join((_START, head, data[scan : _data_end(descriptor)], _END)))


def segments(descriptor: int) -> list[bytes]:
    """Return the payloads of the segments before the first scan, as far as they can be followed."""
    found: list[tuple[int, bytes]] = []
    with _mapped(descriptor) as data, suppress(IndexError):
        _find_first_scan(data, found)
    return [payload for _, payload in found]


@contextmanager
def _mapped(descriptor: int) -> Iterator[mmap.mmap]:
    with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as data:
        yield data


def _find_first_scan(data: mmap.mmap, segments: list[tuple[int, bytes]]) -> int:
    """Return the position of the first scan's marker, and append the marker and payload of each segment before it."""
    position = len(_START)
    while (position := data.find(b"\xff", position)) >= 0:
        marker = data[position := position + 1]
        if marker not in _SEGMENTS:  # a stray byte, another 0xFF before a marker, or a marker without a length
            continue
        position += 1
        if marker == _SOS:
            return position - 2
        length = int.from_bytes(data[position : position + 2], "big")
        segments.append((marker, data[position + 2 : position + length]))
        position += length
    raise IndexError


def _encoded(marker: int, payload: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(payload) + 2).to_bytes(2, "big") + payload


def _known(marker: int, payload: bytes, *, inks: bool) -> bytes:
    if marker == _APP0 and payload[:5] == b"JFIF\0":
        return payload[:5] + b"\1" + payload[6:]
    if marker == _APP14 and payload[:5] == b"Adobe" and payload[11:12] > b"\2":
        return payload[:11] + (b"\2" if inks else b"\1") + payload[12:]
    return payload


def _data_end(descriptor: int) -> int:
    """Return the end of the data, without zeros that fill the file up."""
    return min(os.fstat(descriptor).st_size, end_without_zeros(descriptor) + _KEPT_ZEROS)
