"""Draws a frame around a picture. Works at any scale."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.alpha import rounded, with_alpha
from pixelflow.imaging.channels import values_of
from pixelflow.imaging.colors import Color, rgba
from pixelflow.imaging.colour import convert
from pixelflow.imaging.colour.tables import unit
from pixelflow.imaging.context import Context
from pixelflow.imaging.corners import Radii, mask, radii_of
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.operations.border.geometry import sizes, width_of
from pixelflow.imaging.operations.border.model import Border, Position
from pixelflow.imaging.picture import Picture


def apply(picture: Picture, step: Border, _context: Context) -> Picture:
    """Draw the frame."""
    image, size = picture.aligned().to_output_colorspace().image, sizes(picture.size, step).result
    scale = image.width / picture.size.width
    width = round(width_of(picture.size, step) * scale)
    color, inside = rgba(step.color), step.position is Position.INSIDE
    frame = Size(image.width, image.height)
    if not inside:
        frame = Size(frame.width + 2 * width, frame.height + 2 * width)
        image = _embedded(image, width, frame, color)
    top_left, top_right, bottom_right, bottom_left = (each * scale for each in radii_of(step.radius, picture.size))
    radii = (top_left, top_right, bottom_right, bottom_left)
    if width and (inside or any(radii)):
        image = _framed(image, width, radii, color, shows_through=inside)
    return picture.with_size(image, size)


def _embedded(image: pyvips.Image, width: int, frame: Size, color: Color) -> pyvips.Image:
    image = image if color.opaque else with_alpha(image)
    return image.embed(width, width, *frame, extend="background", background=values_of(color, image))


def _framed(image: pyvips.Image, width: int, radii: Radii, color: Color, *, shows_through: bool) -> pyvips.Image:
    """Mix picture and frame by the shares that they have of each pixel, with premultiplied alpha.

    Args:
        image: as large as the frame.
        width: of the frame.
        radii: of its outer corners.
        color: of the frame.
        shows_through: whether the picture is below the frame too, where that is translucent.
    """
    opacity = color.alpha / 255
    outer, inner = _masks(Size(image.width, image.height), width, radii)
    ring = (outer - inner) / 255
    share = outer / 255 - ring * opacity if shows_through else inner / 255
    premultiplied = with_alpha(image).premultiply()
    fill = [*(channel * opacity for channel in convert.values_of(color.rgb, image)), color.alpha * float(unit(image))]
    mixed = premultiplied * share + (ring.bandjoin([ring] * 3) * fill)
    translucent = image.hasalpha() or any(radii)
    result = rounded(mixed.copy(interpretation=image.interpretation).unpremultiply(), image.format)
    return result if translucent else result[0:3]


def _masks(frame: Size, width: int, radii: Radii) -> tuple[pyvips.Image, pyvips.Image]:
    """Return the shares of each pixel within the outer and within the inner edge of the frame."""
    top_left, top_right, bottom_right, bottom_left = (max(0.0, each - width) for each in radii)
    within = Size(frame.width - 2 * width, frame.height - 2 * width)
    inner = mask(within, (top_left, top_right, bottom_right, bottom_left))
    return mask(frame, radii), inner.embed(width, width, *frame)
