"""A source that several steps make smaller: what was made for one is what a still smaller one is made from.

It must never keep more than a small multiple of the source's pixels, nor give a step less than it needs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pixelflow.dataplane.imaging.geometry import Size
from pixelflow.dataplane.imaging.picture import Picture, stored_size

_SURPLUS = 1.3
"""How many times larger than needed a picture must be to be made smaller again.

Less than a decoder's reduction has to leave (`plan`), since ours was by Lanczos. Photos made 960, 640 and 320 wide from
1280, 960 and 640: mean ΔE2000 to a resize in floating point of 0.27 to 0.41, against 0.23 to 0.40 from the full source.
"""


@dataclass(frozen=True)
class Pyramid(Picture):
    """The source, held in memory, and smaller ones that stand for it."""

    _smaller: list[Picture] = field(default_factory=list, compare=False)
    """Each at least `_SURPLUS` times smaller than the one before, so that all together have less than 1.5 times the
    source's pixels."""

    def scaled(self, size: Size, *, linear: bool) -> Picture:
        """As any picture; and kept, if that helps later steps."""
        source = Picture(self.image, self.size)
        if linear:
            return source.scaled(size, linear=True)
        made = self._least(source, size).scaled(size, linear=False)
        if not _has_surplus(self._smaller[-1] if self._smaller else source, made.size):
            return made
        made = made.held()
        self._smaller.append(replace(made, size=self.size))
        return made

    def _least(self, source: Picture, size: Size) -> Picture:
        """The smallest that is large enough, or just right."""
        return next(
            (each for each in reversed(self._smaller) if _has_surplus(each, size) or _is_of(each, size)), source
        )


def _has_surplus(picture: Picture, size: Size) -> bool:
    stored, wanted = picture.image, stored_size(picture.image, size)
    return bool(stored.width >= _SURPLUS * wanted.width and stored.height >= _SURPLUS * wanted.height)


def _is_of(picture: Picture, size: Size) -> bool:
    return (picture.image.width, picture.image.height) == stored_size(picture.image, size)
