"""Mirrors a picture."""

from __future__ import annotations

from pixelflow.imaging.context import Context
from pixelflow.imaging.operations.flip.model import Direction, Flip
from pixelflow.imaging.picture import Picture


def apply(picture: Picture, step: Flip, _context: Context) -> Picture:
    """Mirror the picture."""
    image = picture.aligned().to_output_colorspace(gray=True).image
    if step.direction is not Direction.HORIZONTAL:
        image = image.copy_memory().flipver()
    if step.direction is not Direction.VERTICAL:
        image = image.fliphor()
    return picture.with_size(image, picture.size)
