"""The size in the header of a JPEG XL codestream (ISO/IEC 18181-1, SizeHeader)."""

from __future__ import annotations

from pixelflow.imaging.format import OutputEnds, require

_SIGNATURE = b"\xff\x0a"
_CONTAINER, _CODESTREAM_BOX = b"\0\0\0\x0cJXL ", b"jxlc"
"""The start of a container, and the type of the box with the codestream (ISO/IEC 18181-2)."""
_LENGTHS = (9, 13, 18, 30)
"""Bits of a side, by its selector of two bits."""
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
"""Width and height relative to one another, by their selector of three bits; 0: the width is stored."""


def read_size(ends: OutputEnds) -> tuple[int, int]:
    """Read width and height of a codestream, which the encoder puts in a container if 16 bits are lossless."""
    start = ends.head.find(_CODESTREAM_BOX) + len(_CODESTREAM_BOX) if ends.head.startswith(_CONTAINER) else 0
    require(ends.head[start : start + 2] == _SIGNATURE)
    bits = _Bits(ends.head[start + 2 : start + 18])
    small = bits.read(1)
    height = _side(bits, small)
    ratio = bits.read(3)
    width = height * _RATIOS[ratio][0] // _RATIOS[ratio][1] if ratio else _side(bits, small)
    return width, height


def _side(bits: _Bits, small: int) -> int:
    if small:
        return 8 * (bits.read(5) + 1)
    return bits.read(_LENGTHS[bits.read(2)]) + 1


class _Bits:
    """Reads bits, those of the lowest value first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "little")

    def read(self, count: int) -> int:
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        return value
