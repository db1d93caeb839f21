"""A source that several steps scale down: each result serves as input for still smaller ones.

It must never keep more than a small multiple of the source's pixels, and never make a result from a version that is too
small for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pixelflow.imaging.geometry import Size
from pixelflow.imaging.picture import Picture, stored_size
from pixelflow.imaging.resampling import LANCZOS

_MIN_RATIO = 1.3
"""Minimum ratio of an earlier result to the requested size for it to serve as input.

Smaller than the ratio for a decoder's reduction (`plan`), because earlier results were scaled with Lanczos. Photos
scaled to widths of 960, 640 and 320 from 1280, 960 and 640 have a mean ΔE2000 of 0.27 to 0.41 to a floating-point
resize; from the full source, 0.23 to 0.40.
"""


@dataclass(frozen=True)
class Pyramid(Picture):
    """The source in memory, with smaller versions that have the same nominal size."""

    _smaller: list[Picture] = field(default_factory=list, compare=False)
    """Each at least `_MIN_RATIO` times smaller than the one before, so that together they have less than 1.5 times the
    source's pixels."""

    def scaled(self, size: Size, *, linear: bool, kernel: str = LANCZOS) -> Picture:
        """Scale as any picture does, and keep the result if later steps can use it."""
        source = Picture(self.image, self.size, self.extent, self.target)
        # Results with 16 bits are made from all pixels of the source, so that those with 8 don't depend on them.
        if linear or kernel != LANCZOS or self.target.wide:
            return source.scaled(size, linear=linear, kernel=kernel)
        made = replace(self._smallest_input(source, size), target=self.target).scaled(size, linear=False)
        if not _is_large_enough(self._smaller[-1] if self._smaller else source, made.size):
            return made
        made = made.materialized()
        self._smaller.append(replace(made, size=self.size))
        return made

    def rereadable(self) -> Picture:
        """Return the pyramid: its pixels are in memory."""
        return self

    def _smallest_input(self, source: Picture, size: Size) -> Picture:
        """Return the smallest version that is large enough or has exactly the requested size."""
        return next(
            (each for each in reversed(self._smaller) if _is_large_enough(each, size) or _has_size(each, size)), source
        )


def _is_large_enough(picture: Picture, size: Size) -> bool:
    stored, wanted = picture.image, stored_size(picture.image, size)
    return bool(stored.width >= _MIN_RATIO * wanted.width and stored.height >= _MIN_RATIO * wanted.height)


def _has_size(picture: Picture, size: Size) -> bool:
    return (picture.image.width, picture.image.height) == stored_size(picture.image, size)
