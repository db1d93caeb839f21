"""Makes the corners of a picture transparent. Works at any scale."""

from __future__ import annotations

from pixelflow.imaging.alpha import rounded
from pixelflow.imaging.context import Context
from pixelflow.imaging.corners import mask, radii_of
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.operations.round.model import Round
from pixelflow.imaging.picture import Picture


def apply(picture: Picture, step: Round, _context: Context) -> Picture:
    """Round the corners of the picture."""
    image = picture.to_output_colorspace().image
    scale = image.width / picture.size.width
    top_left, top_right, bottom_right, bottom_left = (each * scale for each in radii_of(step.radius, picture.size))
    alpha = mask(Size(image.width, image.height), (top_left, top_right, bottom_right, bottom_left))
    if not image.hasalpha():
        return picture.with_size(image.bandjoin(alpha), picture.size)
    colors, own = image[0 : image.bands - 1], image[image.bands - 1]
    return picture.with_size(colors.bandjoin(rounded(own * alpha / 255, "uchar")), picture.size)
