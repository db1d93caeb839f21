"""Sizes of a border: integer arithmetic on pixels."""

from __future__ import annotations

from pixelflow.imaging.geometry import Size, length, round_half_up
from pixelflow.imaging.operation import Sizes, reduction_around
from pixelflow.imaging.operations.border.model import Border, Position


def width_of(picture: Size, step: Border) -> int:
    """Return the width of the border; inside, at least one pixel of the picture remains."""
    width = round_half_up(length(step.width, picture.shorter))
    return width if step.position is Position.OUTSIDE else min(width, (picture.shorter - 1) // 2)


def sizes(size: Size, step: Border) -> Sizes:
    """Return the sizes that the step makes of a picture of this size."""
    if step.position is Position.INSIDE:
        return Sizes(size, size)
    around = 2 * width_of(size, step)
    result = Size(size.width + around, size.height + around)
    return Sizes(result, result)


def reduction(size: Size, step: Border, allowed: float) -> float:
    """Return the factor by which the input may be reduced, so that a thin border stays as thin."""
    return reduction_around(width_of(size, step), allowed)
