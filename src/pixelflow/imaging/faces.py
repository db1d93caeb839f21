"""Crops around faces: what they need, and which part of a picture they keep. Never processes an image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from pixelflow.imaging.fields import FocalPoint
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.gravity import Gravity, Interest

EXTRA = "faces"
"""The optional capability that a worker needs for it."""
LONGEST_SIDE = 640
"""Pixels of the longer side of the picture in which faces are searched: a face has at least 10."""
_BYTES_PER_PIXEL = 80
_CONSTANT_BYTES = 2_000_000
"""Of the detector. Measured peaks: 28 MB for 640 × 640, 8 MB for 320 × 320, 1.8 MB for the smallest."""
_PICTURE_BYTES = 4
_MOST_FACES = 16
"""The largest faces that are considered: the number of parts that are compared grows with its square."""


class Face(NamedTuple):
    """A box around a face, in shares of the picture's width and height, 0 to 1."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        """Share of the picture."""
        return (self.right - self.left) * (self.bottom - self.top)


def by_faces(gravity: Gravity | Interest, focus: FocalPoint | None) -> bool:
    """Whether the position depends on faces."""
    return focus is None and gravity is Interest.FACES


def reduction(size: Size) -> float:
    """Return the factor by which a picture may be reduced before faces are searched."""
    return max(1.0, max(size) / LONGEST_SIDE)


def memory(size: Size) -> int:
    """Return the bytes of the search in a picture, and of the picture that is searched."""
    return size.reduced(reduction(size)).pixels * (_BYTES_PER_PIXEL + _PICTURE_BYTES) + _CONSTANT_BYTES


def corner_around(faces: Sequence[Face], outer: Size, part: Size) -> tuple[int, int]:
    """Return left and top of the part of ``outer`` that holds the most of the faces by area, centered on them.

    A largest face that is wider or higher than the part is its center: smaller ones beside it are no reason to leave it
    out. Of parts that are equally good, it is the first from the
    left, then from the top.
    """
    largest = sorted(faces, key=lambda face: (-face.area, face))[:_MOST_FACES]
    width, height = part.width / outer.width, part.height / outer.height
    held = _held(largest, width, height) if _fits(largest[0], width, height) else largest[:1]
    return (
        _around([(face.left, face.right, face.area) for face in held], outer.width, part.width),
        _around([(face.top, face.bottom, face.area) for face in held], outer.height, part.height),
    )


def _held(faces: Sequence[Face], width: float, height: float) -> list[Face]:
    """Return the faces in the best part of this size: one whose left and upper edges touch a face each."""
    parts = product(sorted({face.left for face in faces}), sorted({face.top for face in faces}))
    held = ([face for face in faces if _holds(left, top, width, height, face)] for left, top in parts)
    return max(held, key=lambda each: sum(face.area for face in each))


def _fits(face: Face, width: float, height: float) -> bool:
    return _holds(face.left, face.top, width, height, face)


def _holds(left: float, top: float, width: float, height: float, face: Face) -> bool:
    return left <= face.left and top <= face.top and face.right <= left + width and face.bottom <= top + height


def _around(spans: Sequence[tuple[float, float, float]], outer: int, extent: int) -> int:
    """Return where a part begins whose center is the mean of the spans, weighted by area, and which holds them all."""
    weight = sum(area for _, _, area in spans)
    mean = sum((near + far) / 2 * area for near, far, area in spans) / weight
    start = round(mean * outer - extent / 2)
    first, last = (
        round(max(far for _, far, _ in spans) * outer) - extent,
        round(min(near for near, *_ in spans) * outer),
    )
    if first <= last:  # one that does not fit stays in the center
        start = min(max(start, first), last)
    return min(max(0, start), outer - extent)
