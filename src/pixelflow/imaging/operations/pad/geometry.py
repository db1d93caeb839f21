"""Sizes of a pad: integer arithmetic on pixels."""

from __future__ import annotations

from typing import NamedTuple

from pixelflow.imaging.geometry import Size, fraction, length, place, round_half_up
from pixelflow.imaging.operation import Sizes, reduction_around
from pixelflow.imaging.operations.pad.model import Extend, Pad, Padding

_CHANNELS = 4


class Padded(NamedTuple):
    """The result, and where the picture is in it."""

    canvas: Size
    left: int
    top: int


def padded(picture: Size, step: Pad) -> Padded:
    """Compute the result of the step for a picture of this size."""
    if step.padding is not None:
        top, right, bottom, left = (round_half_up(length(side, picture.shorter)) for side in _sides(step.padding))
        return Padded(Size(left + picture.width + right, top + picture.height + bottom), left, top)
    canvas = Size(max(step.width or 0, picture.width), max(step.height or 0, picture.height))
    if step.ratio is not None:
        ratio = fraction(step.ratio)
        canvas = Size(
            max(picture.width, round_half_up(picture.height * ratio)),
            max(picture.height, round_half_up(picture.width / ratio)),
        )
    return Padded(canvas, *place(step.gravity, canvas, picture))


def sizes(size: Size, step: Pad) -> Sizes:
    """Return the sizes that the step makes of a picture of this size."""
    canvas = padded(size, step).canvas
    return Sizes(canvas, canvas)


def reduction(size: Size, step: Pad, allowed: float) -> float:
    """Return the factor by which the input may be reduced, so that little space stays as little."""
    canvas, left, top = padded(size, step)
    sides = (left, top, canvas.width - size.width - left, canvas.height - size.height - top)
    return reduction_around(min((side for side in sides if side), default=max(size)), allowed)


def memory(size: Size, step: Pad) -> int:
    """Return the bytes of the picture, if the space around it is made of it, and of its blurred copy."""
    if step.extend is Extend.COLOR:
        return 0
    copies = padded(size, step).canvas.pixels * _CHANNELS if step.extend is Extend.BLUR else 0
    return size.pixels * _CHANNELS + copies


def _sides(padding: Padding | int | str) -> tuple[int | str, int | str, int | str, int | str]:
    if isinstance(padding, Padding):
        return padding.top, padding.right, padding.bottom, padding.left
    return padding, padding, padding, padding
