"""The frames of an image: one, or those of an animation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pyvips

from pixelflow.imaging.geometry import Size
from pixelflow.imaging.picture import Picture

_DEFAULT_DELAY_MS = 100
"""As browsers show frames without a delay."""


@dataclass(frozen=True)
class Frames:
    """One picture or several of the same size that follow one another."""

    pictures: tuple[Picture, ...]
    delays: tuple[int, ...] = ()
    """Time that each frame is shown, in milliseconds. Empty for a single picture."""
    loop: int = 0
    """How often an animation is played; 0: without end."""
    gain_map: Picture | None = None
    """Of a single picture (`imaging.gain_map`), if an output is to have it."""

    @classmethod
    def split(cls, image: pyvips.Image, size: Size) -> Frames:
        """Split a tall image, as libvips loads animations, into frames; the pixels are kept in memory."""
        image = image.copy_memory()
        height = int(image.get("page-height"))
        count = image.height // height
        delays = list(image.get("delay")) if image.get_typeof("delay") else []
        return cls(
            tuple(Picture(image.crop(0, height * place, image.width, height), size) for place in range(count)),
            tuple([*delays, *[_DEFAULT_DELAY_MS] * count][:count]),
            int(image.get("loop")) if image.get_typeof("loop") else 0,
        )

    def joined(self) -> pyvips.Image:
        """Return one tall image, as the encoders of libvips take animations."""
        if len(self) == 1:
            return self.first.image
        image = pyvips.Image.arrayjoin([picture.image for picture in self], across=1).copy()
        image.set_type(pyvips.GValue.gint_type, "page-height", self.first.size.height)
        image.set_type(pyvips.GValue.array_int_type, "delay", list(self.delays))
        image.set_type(pyvips.GValue.gint_type, "loop", self.loop)
        return image

    @property
    def first(self) -> Picture:
        """The first frame."""
        return self.pictures[0]

    def at(self, place: int) -> Picture:
        """The frame at a place in an animation that may be longer than this one, which then starts again."""
        return self.pictures[place % len(self)]

    def map(self, operation: Callable[[Picture], Picture]) -> Frames:
        """Apply an operation to each frame."""
        return replace(self, pictures=tuple(operation(picture) for picture in self))

    def poster(self) -> Frames:
        """The first frame alone."""
        return Frames((self.first,), gain_map=self.gain_map)

    def __iter__(self) -> Iterator[Picture]:
        return iter(self.pictures)

    def __len__(self) -> int:
        return len(self.pictures)
