"""Sizes and positions: integer arithmetic on pixels. Never processes an image."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from pixelflow.imaging.gravity import Gravity

FULL_SIGMA = 8.0
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


def length(value: float | str, shorter: int) -> float:
    """Convert a length of ``imaging.pipeline`` (pixels, or percent of the shorter side) to pixels."""
    return float(value.rstrip("%")) / 100 * shorter if isinstance(value, str) else float(value)


def blur_reduction(sigma: float) -> int:
    """Return the factor by which an image is reduced for a blur of ``sigma`` pixels."""
    return max(1, ceil(sigma / FULL_SIGMA))


def _offset(free: int, margin: int, *, near: bool, far: bool) -> int:
    if near:
        return margin
    return free - margin if far else free // 2
