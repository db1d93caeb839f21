"""Crops to a size: where the part to keep is, and the part itself."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.fields import FocalPoint
from pixelflow.imaging.geometry import Size, place, place_at
from pixelflow.imaging.gravity import Gravity, Interest

Corner = tuple[int, int]
"""Left and top, in pixels."""


def corner_of(image: pyvips.Image, size: Size, gravity: Gravity | Interest, focus: FocalPoint | None) -> Corner:
    """Return left and top of the part of this size to keep. By content, it reads the pixels twice."""
    outer = Size(image.width, image.height)
    if focus is not None:
        return place_at(focus, outer, size)
    if isinstance(gravity, Gravity):
        return place(gravity, outer, size)
    found = image.smartcrop(*size, interesting=gravity.value)
    return -int(found.xoffset), -int(found.yoffset)


def by_content(gravity: Gravity | Interest, focus: FocalPoint | None) -> bool:
    """Whether the position depends on the pixels."""
    return focus is None and isinstance(gravity, Interest)
