"""Puts a color behind transparent parts."""

from __future__ import annotations

from pixelflow.imaging.colors import rgba
from pixelflow.imaging.context import Context
from pixelflow.imaging.layers import over_color
from pixelflow.imaging.operations.background.model import Background
from pixelflow.imaging.picture import Picture


def apply(picture: Picture, step: Background, _context: Context) -> Picture:
    """Put the step's ``background`` behind the picture."""
    picture = picture.to_output_colorspace()
    return picture.with_image(over_color(picture.image, rgba(step.background)))
