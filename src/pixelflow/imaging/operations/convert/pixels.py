"""Leaves the pixels as they are."""

from __future__ import annotations

from pixelflow.imaging.context import Context
from pixelflow.imaging.operations.convert.model import Convert
from pixelflow.imaging.picture import Picture


def apply(picture: Picture, _step: Convert, _context: Context) -> Picture:
    """Return the picture as every output is: upright, in the color space of outputs."""
    return picture.to_output_colorspace(gray=True)
