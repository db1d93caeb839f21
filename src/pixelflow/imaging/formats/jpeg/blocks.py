"""Completes the last blocks of a JPEG, so that a reduction on decoding loses no pixel at the right and bottom.

libvips cuts off a block that the picture fills only in part: of 1603 pixels reduced by 8, it returns 200 and not 201,
and a frame of 3 pixels is lost. The blocks are complete in the file (ITU-T T.81, A.2.4: the encoder fills them). So the
size in the header is rounded up to whole blocks, which changes nothing of the coded data.
"""

from __future__ import annotations

import mmap
import struct

_BLOCK = 8
_MOST = 65_500
"""libjpeg's JPEG_MAX_DIMENSION."""
_MARKER = 0xFF
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_ALONE = {0x01, *range(0xD0, 0xD9)}
"""Markers without a segment."""
_HALVED = {0x11, 0x12, 0x14, 0x21, 0x22, 0x24, 0x41, 0x42, 0x44}
"""Sampling factors with which each component's number of blocks stays the same too."""


def with_whole_blocks(descriptor: int) -> mmap.mmap | None:
    """Return the file with a size of whole blocks in its header, as private memory; None if it has one, or can't."""
    data = mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
    return data if complete_blocks(data) else None


def complete_blocks(data: mmap.mmap | bytearray) -> bool:
    """Write a size of whole blocks into the header of the file; return whether that changed it."""
    try:
        frame = _start_of_frame(data)
        return frame is not None and _complete(data, frame)
    except (IndexError, struct.error):  # damaged: the decoder says so
        return False


def _complete(data: mmap.mmap | bytearray, frame: int) -> bool:
    """Round the size in the frame header up; return whether that changed it."""
    height, width, components = struct.unpack_from(">HHB", data, frame + 5)
    sampling = {data[frame + 11 + 3 * component] for component in range(components)}
    whole = -(-height // _BLOCK) * _BLOCK, -(-width // _BLOCK) * _BLOCK
    if whole == (height, width) or not sampling <= _HALVED or max(whole) > _MOST or height == 0:
        return False
    struct.pack_into(">HH", data, frame + 5, *whole)
    return True


def _start_of_frame(data: mmap.mmap | bytearray) -> int | None:
    """Return the place of the marker of the frame header; the thumbnail in EXIF has one too, which is not meant."""
    position = 2
    while data[position] == _MARKER:
        marker = data[position + 1]
        if marker in _START_OF_FRAME:
            return position
        if marker == _MARKER:  # a fill byte
            position += 1
        elif marker in _ALONE:
            position += 2
        else:
            position += 2 + int(struct.unpack_from(">H", data, position + 2)[0])
    return None
