"""Finds the border of a picture and cuts it off."""

from __future__ import annotations

from typing import NamedTuple

import pyvips

from pixelflow.imaging.channels import values_of
from pixelflow.imaging.colors import rgba
from pixelflow.imaging.colour.convert import to_8_bits
from pixelflow.imaging.context import Context
from pixelflow.imaging.geometry import Size, length
from pixelflow.imaging.operations.trim.model import Trim
from pixelflow.imaging.picture import Picture

_Color = list[float]
"""Premultiplied: all transparent pixels have the same color."""


class _Box(NamedTuple):
    left: int
    top: int
    width: int
    height: int


def decide(picture: Picture, step: Trim) -> _Box:
    """Return what all frames of an animation keep."""
    return _content(picture.to_output_colorspace().materialized(), step)


def apply(picture: Picture, step: Trim, context: Context) -> Picture:
    """Cut the border off. A picture that is all border stays as it is."""
    picture = picture.to_output_colorspace(gray=True).materialized()
    box = context.decision or _content(picture.to_output_colorspace(), step)
    return picture.with_size(picture.image.crop(*box), Size(box.width, box.height))


def _content(picture: Picture, step: Trim) -> _Box:
    image = to_8_bits(picture.image)
    image = image.premultiply() if image.hasalpha() else image
    color = _corner_color(image, step.threshold) if step.color is None else _premultiplied(step.color, image)
    inside = (image > [each + step.threshold for each in color]) | (image < [each - step.threshold for each in color])
    left, top, width, height = inside.bandor().find_trim(threshold=0, background=[0], line_art=True)
    if not width:
        return _Box(0, 0, *picture.size)
    padding = round(length(step.padding, picture.size.shorter))
    right, bottom = left + width + padding, top + height + padding
    left, top = max(0, left - padding), max(0, top - padding)
    return _Box(left, top, min(right, image.width) - left, min(bottom, image.height) - top)


def _corner_color(image: pyvips.Image, threshold: int) -> _Color:
    """Return the color of the corner that most corners agree with; of several, the first from the top left."""
    corners = [image.getpoint(x, y) for y in (0, image.height - 1) for x in (0, image.width - 1)]
    return max(corners, key=lambda color: sum(_alike(color, other, threshold) for other in corners))


def _alike(one: _Color, other: _Color, threshold: int) -> bool:
    return all(abs(a - b) <= threshold for a, b in zip(one, other, strict=True))


def _premultiplied(text: str, image: pyvips.Image) -> _Color:
    """Convert a color to the channels of an image with or without alpha."""
    *colors, last = values_of(rgba(text), image)
    return [*(channel * last / 255 for channel in colors), last] if image.hasalpha() else [*colors, last]
