"""Replaces colors by gray of the same luminance."""

from __future__ import annotations

from pixelflow.imaging.channels import luminance, on_colors
from pixelflow.imaging.context import Context
from pixelflow.imaging.operations.grayscale.model import Grayscale
from pixelflow.imaging.picture import Picture


def apply(picture: Picture, _step: Grayscale, _context: Context) -> Picture:
    """Remove the colors."""
    picture = picture.to_output_colorspace(gray=True)
    return picture.with_image(on_colors(picture.image, luminance))
