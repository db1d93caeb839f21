"""Sizes of a crop: integer arithmetic on pixels."""

from __future__ import annotations

from pixelflow.errors import StepFailedError
from pixelflow.imaging import faces
from pixelflow.imaging.geometry import Size, along, fraction, largest_of_ratio
from pixelflow.imaging.gravity import Interest
from pixelflow.imaging.operation import Sizes
from pixelflow.imaging.operations.crop.model import Crop

_CHANNELS = 4
_SMARTCROP_PICTURES = 3
"""Pictures of the input's size that libvips keeps to find a part by its content."""


def corner(picture: Size, step: Crop) -> tuple[int, int] | None:
    """Return left and top of the part, if the step sets them.

    Raises:
        StepFailedError: they are outside of the picture.
    """
    if step.x is None and step.y is None:
        return None
    left, top = along(step.x or 0, picture.width), along(step.y or 0, picture.height)
    if left >= picture.width or top >= picture.height:
        raise StepFailedError(
            f"The part begins at x = {left}, y = {top}; the image has {picture.width} × {picture.height} pixels",
            step_id=step.id,
        )
    return left, top


def part(picture: Size, step: Crop) -> Size:
    """Return the size of the part of a picture that the step keeps.

    Raises:
        StepFailedError: the part is outside of the picture.
    """
    if step.ratio is not None:
        return largest_of_ratio(fraction(step.ratio), picture)
    left, top = corner(picture, step) or (0, 0)
    return Size(
        _clipped(step.width, picture.width, picture.width - left),
        _clipped(step.height, picture.height, picture.height - top),
    )


def sizes(size: Size, step: Crop) -> Sizes:
    """Return the sizes that the step makes of a picture of this size."""
    result = part(size, step)
    return Sizes(result, result)


def reduction(size: Size, step: Crop, allowed: float) -> float:
    """Return the factor by which the input may be reduced: as far as the result, or until faces get too small."""
    return min(allowed, faces.reduction(size)) if faces.by_faces(step.gravity, step.focus) else allowed


def requires(step: Crop) -> tuple[str, ...]:
    """Return the capability to find faces if the step needs it."""
    return (faces.EXTRA,) if faces.by_faces(step.gravity, step.focus) else ()


def memory(size: Size, step: Crop) -> int:
    """Return the bytes of the part and the rows below it, or of the whole picture if it is read to find the part."""
    by_content = step.focus is None and isinstance(step.gravity, Interest)
    if by_content:
        searched = faces.memory(size) if faces.by_faces(step.gravity, step.focus) else 0
        return size.pixels * _CHANNELS * _SMARTCROP_PICTURES + searched
    kept = part(size, step)
    return _CHANNELS * max(kept.width * size.height, kept.height * size.width)


def _clipped(extent: int | str | None, side: int, free: int) -> int:
    return free if extent is None else min(max(1, along(extent, side)), free)
