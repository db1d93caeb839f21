"""Rounded corners: masks with smooth edges."""

from __future__ import annotations

import math

import pyvips

from pixelflow.imaging.alpha import rounded
from pixelflow.imaging.fields import Corners
from pixelflow.imaging.geometry import Size, length

Radii = tuple[float, float, float, float]
"""Of the corners top left, top right, bottom right and bottom left, in pixels."""


def radii_of(radius: Corners | int | str, picture: Size) -> Radii:
    """Return the radii for a picture of this size. They may overlap."""
    if not isinstance(radius, Corners):
        radius = Corners(top_left=radius, top_right=radius, bottom_right=radius, bottom_left=radius)
    corners = (radius.top_left, radius.top_right, radius.bottom_right, radius.bottom_left)
    top_left, top_right, bottom_right, bottom_left = (length(each, picture.shorter) for each in corners)
    return top_left, top_right, bottom_right, bottom_left


def mask(size: Size, radii: Radii) -> pyvips.Image:
    """Return the share of each pixel that is within a box with rounded corners, from 0 to 255.

    Radii that overlap are reduced by one factor, as in CSS (Backgrounds and Borders 3, section 4.5).
    """
    top_left, top_right, bottom_right, bottom_left = _without_overlap(size, radii)
    image = pyvips.Image.black(*size).linear(0, 255, uchar=True)
    image = image.insert(_corner(top_left), 0, 0)
    image = image.insert(tile := _corner(top_right).fliphor(), size.width - tile.width, 0)
    image = image.insert(tile := _corner(bottom_right).rot180(), size.width - tile.width, size.height - tile.height)
    return image.insert(tile := _corner(bottom_left).flipver(), 0, size.height - tile.height)


def _without_overlap(size: Size, radii: Radii) -> Radii:
    """Reduce the radii to halves of pixels that fit: the centers of circles lie on the grid of the pixels."""
    top_left, top_right, bottom_right, bottom_left = radii
    together = (
        (size.width, top_left + top_right),
        (size.width, bottom_left + bottom_right),
        (size.height, top_left + bottom_left),
        (size.height, top_right + bottom_right),
    )
    factor = min([1.0, *(side / both for side, both in together if both)])
    a, b, c, d = (math.floor(2 * each * factor + 0.5) / 2 for each in radii)
    return a, b, c, d


def _corner(radius: float) -> pyvips.Image:
    """Return the top left corner of a mask, at least one pixel. An edge runs through the share of a pixel."""
    side = max(1, math.ceil(radius))
    if radius == 0:
        return pyvips.Image.black(1, 1).linear(0, 255, uchar=True)
    distance = pyvips.Image.sdf(side, side, "circle", a=[radius - 0.5] * 2, r=radius)
    return rounded(distance.linear(-255, 127.5), "uchar")
