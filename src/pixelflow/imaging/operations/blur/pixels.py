"""Blurs a picture, at the scale at which it is."""

from __future__ import annotations

from pixelflow.imaging.blurring import blur
from pixelflow.imaging.context import Context
from pixelflow.imaging.geometry import length
from pixelflow.imaging.operations.blur.model import Blur
from pixelflow.imaging.picture import Picture


def apply(picture: Picture, step: Blur, _context: Context) -> Picture:
    """Blur the picture."""
    picture = picture.to_output_colorspace(gray=True)
    scale = picture.image.width / picture.size.width
    return picture.with_image(blur(picture.image, length(step.sigma, picture.size.shorter) * scale))
