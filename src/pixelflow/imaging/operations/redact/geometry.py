"""The pixels of a region, and the cells that it is divided into."""

from __future__ import annotations

from math import ceil, floor
from typing import NamedTuple

from pixelflow.imaging.geometry import Size, length
from pixelflow.imaging.operations.redact.model import Redact, Region

MAX_CELLS = 4
"""Cells along each side of a region. With more, letters and faces can be recognized by comparing candidates."""
MIN_CELL = 16
"""A region has no more cells than it has this many pixels, so that small regions don't keep their details."""
_CHANNELS = 4


class PixelBox(NamedTuple):
    """A rectangle in pixels."""

    left: int
    top: int
    width: int
    height: int


def box_of(region: Region, size: Size) -> PixelBox | None:
    """Return every pixel that the region touches; None if it is outside the image."""
    left, right = _span(region.x, region.width, size.width)
    top, bottom = _span(region.y, region.height, size.height)
    if left >= right or top >= bottom:
        return None
    return PixelBox(left, top, right - left, bottom - top)


def memory(size: Size, _step: Redact) -> int:
    """Return the bytes of the image, which is in memory."""
    return size.pixels * _CHANNELS


def cell_of(box: PixelBox) -> Size:
    """Return the size of a cell; those at the right and bottom may be some pixels smaller."""
    return Size(_cell(box.width), _cell(box.height))


def _cell(side: int) -> int:
    return ceil(side / min(MAX_CELLS, max(1, side // MIN_CELL)))


def _span(start: int | str, extent: int | str, side: int) -> tuple[int, int]:
    first, wide = length(start, side), length(extent, side)
    return floor(first), min(side, ceil(first + wide))
