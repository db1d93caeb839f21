"""Makes the corners of a picture transparent. Works at any scale."""

from __future__ import annotations

from pixelflow.imaging.alpha import rounded
from pixelflow.imaging.channels import join_alpha, split_alpha
from pixelflow.imaging.colour.convert import like
from pixelflow.imaging.context import Context
from pixelflow.imaging.corners import mask, radii_of
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.operations.round.model import Round
from pixelflow.imaging.picture import Picture


def apply(picture: Picture, step: Round, _context: Context) -> Picture:
    """Round the corners of the picture."""
    image = picture.aligned().to_output_colorspace(gray=True).image
    scale = image.width / picture.size.width
    top_left, top_right, bottom_right, bottom_left = (each * scale for each in radii_of(step.radius, picture.size))
    alpha = mask(Size(image.width, image.height), (top_left, top_right, bottom_right, bottom_left))
    colors, own = split_alpha(image)
    alpha = like(alpha, image) if own is None else rounded(own * alpha / 255, image.format)
    return picture.with_size(join_alpha(colors, alpha), picture.size)
