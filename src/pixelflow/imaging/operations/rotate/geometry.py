"""Sizes of a rotation."""

from __future__ import annotations

import math

from pixelflow.imaging.geometry import Size
from pixelflow.imaging.operation import Sizes
from pixelflow.imaging.operations.rotate.model import Canvas, Rotate

_CHANNELS = 4
_TINY = 1e-6
"""Pixels of a side that are an error of rounding."""


def quarter_turns(step: Rotate) -> int | None:
    """Return the clockwise turns by 90°, 0 to 3; None for other angles."""
    return int(step.angle // 90 % 4) if step.angle % 90 == 0 else None


def canvas(picture: Size, step: Rotate) -> Size:
    """Return the size of the result."""
    turns = quarter_turns(step)
    if step.canvas is Canvas.KEEP or turns in {0, 2}:
        return picture
    if turns is not None:
        return Size(picture.height, picture.width)
    return _inner(picture, step.angle) if step.canvas is Canvas.INNER else _outer(picture, step.angle)


def sizes(size: Size, step: Rotate) -> Sizes:
    """Return the sizes that the step makes of a picture of this size."""
    result = canvas(size, step)
    return Sizes(result, result)


def memory(size: Size, step: Rotate) -> int:
    """Return the bytes of the input, whose pixels are read in another order than a stream delivers."""
    return 0 if quarter_turns(step) == 0 else size.pixels * _CHANNELS


def _outer(picture: Size, angle: float) -> Size:
    """Return the size of the box around the turned picture."""
    sine, cosine = _sine_and_cosine(angle)
    width, height = picture
    return Size(
        math.ceil(width * cosine + height * sine - _TINY),
        math.ceil(width * sine + height * cosine - _TINY),
    )


def _inner(picture: Size, angle: float) -> Size:
    """Return the size of the largest upright box within the turned picture, with the same center.

    Two of its corners touch the longer sides of a narrow picture; otherwise each corner touches another side.
    """
    sine, cosine = _sine_and_cosine(angle)
    width, height = picture
    shorter, longer = sorted(picture)
    if shorter <= 2 * sine * cosine * longer or math.isclose(sine, cosine):
        across, along = shorter / 2 / sine, shorter / 2 / cosine
        inner = (across, along) if width >= height else (along, across)
    else:
        double = cosine * cosine - sine * sine
        inner = ((width * cosine - height * sine) / double, (height * cosine - width * sine) / double)
    return Size(*(max(1, math.floor(side + _TINY)) for side in inner))


def _sine_and_cosine(angle: float) -> tuple[float, float]:
    radians = math.radians(angle)
    return abs(math.sin(radians)), abs(math.cos(radians))
