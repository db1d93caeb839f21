"""A vector image, which has as many pixels as a step needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

from pixelflow.imaging.geometry import Size
from pixelflow.imaging.picture import Picture

MAX_DRAWN_PIXELS = 8_000_000
"""Most pixels that a vector image is drawn with; a larger one is interpolated."""


@dataclass(frozen=True)
class VectorPicture(Picture):
    """A vector image, drawn at its own size and, on demand, at others."""

    draw: Callable[[float], Picture] | None = None
    """Draws it smaller by a factor, or larger by one below 1. Of the pictures drawn before, none may be read later."""

    def near(self, size: Size) -> Picture:
        """Draw the image so that it has about ``size``, at most `MAX_DRAWN_PIXELS`."""
        assert self.draw is not None  # noqa: S101 - a default only because the fields before it have one
        shrink = min(self.size.width / size.width, self.size.height / size.height)
        drawn = self.draw(max(shrink, sqrt(self.size.pixels / MAX_DRAWN_PIXELS))).image
        return Picture(drawn, Size(drawn.width, drawn.height), target=self.target)
