"""Sizes and positions: integer arithmetic on pixels. Never processes an image."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

from pixelflow.imaging.fields import FocalPoint
from pixelflow.imaging.gravity import Gravity

FULL_SIGMA = 3.0
"""Largest standard deviation, in pixels, of a blur at full size. A wider one works on a reduced image, where it has
between half of this and this: the details that reduction loses are below what such a blur leaves."""


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int

    @property
    def pixels(self) -> int:
        """Width × height."""
        return self.width * self.height

    def reduced(self, factor: float) -> Size:
        """The size that a decoder makes of it, rounded up; a factor below one enlarges."""
        return Size(math.ceil(self.width / factor), math.ceil(self.height / factor))

    @property
    def shorter(self) -> int:
        """The shorter side."""
        return min(self)


def place(gravity: Gravity, outer: Size, inner: Size, margin: int = 0) -> tuple[int, int]:
    """Return left and top of ``inner`` in ``outer``, ``margin`` pixels from the edges that ``gravity`` names."""
    across, down = outer.width - inner.width, outer.height - inner.height
    return (
        _offset(across, margin, near="west" in gravity.value, far="east" in gravity.value),
        _offset(down, margin, near="north" in gravity.value, far="south" in gravity.value),
    )


def place_at(focus: FocalPoint, outer: Size, inner: Size) -> tuple[int, int]:
    """Return left and top of ``inner`` in ``outer`` with the focal point as close to its center as possible."""
    return _around(focus.x, outer.width, inner.width), _around(focus.y, outer.height, inner.height)


def largest_of_ratio(ratio: Fraction, outer: Size) -> Size:
    """Return the largest size of this ratio within ``outer``, rounded to pixels, at least one."""
    if outer.width > outer.height * ratio:
        return Size(max(1, round_half_up(outer.height * ratio)), outer.height)
    return Size(outer.width, max(1, round_half_up(outer.width / ratio)))


def fraction(ratio: str | float) -> Fraction:
    """Convert a ``Ratio`` ("16:9" or 1.5) to width ÷ height."""
    if isinstance(ratio, str):
        width, height = ratio.split(":")
        return Fraction(width) / Fraction(height)
    return Fraction(str(ratio))


def along(value: int | str, side: int) -> int:
    """Convert pixels, or a percentage of ``side``, to whole pixels."""
    return value if isinstance(value, int) else round_half_up(Fraction(value.rstrip("%")) / 100 * side)


def round_half_up(value: Fraction | float) -> int:
    """Round to the nearest integer, halves up."""
    return math.floor(value + (Fraction(1, 2) if isinstance(value, Fraction) else 0.5))


def length(value: float | str, shorter: int) -> float:
    """Convert a length of ``imaging.pipeline`` (pixels, or percent of the shorter side) to pixels."""
    return float(value.rstrip("%")) / 100 * shorter if isinstance(value, str) else float(value)


def blur_reduction(sigma: float) -> int:
    """Return the factor by which an image is reduced for a blur of ``sigma`` pixels."""
    return max(1, math.ceil(sigma / FULL_SIGMA))


def _around(share: float, outer: int, inner: int) -> int:
    return min(max(0, round_half_up(share * outer - inner / 2)), outer - inner)


def _offset(free: int, margin: int, *, near: bool, far: bool) -> int:
    if near:
        return margin
    return free - margin if far else free // 2
