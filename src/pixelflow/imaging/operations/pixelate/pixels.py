"""Replaces squares by their mean color."""

from __future__ import annotations

from pixelflow.imaging.context import Context
from pixelflow.imaging.geometry import length
from pixelflow.imaging.mosaic import mosaic
from pixelflow.imaging.operations.pixelate.model import Pixelate
from pixelflow.imaging.picture import Picture


def apply(picture: Picture, step: Pixelate, _context: Context) -> Picture:
    """Pixelate the picture."""
    picture = picture.to_output_colorspace(gray=True)
    side = max(1, round(length(step.size, picture.size.shorter)))
    return picture.with_image(mosaic(picture.image, side))
