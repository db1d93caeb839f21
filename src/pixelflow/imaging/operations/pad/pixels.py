"""Adds space around a picture. Works at any scale."""

from __future__ import annotations

from fractions import Fraction

import pyvips

from pixelflow.imaging.alpha import with_alpha
from pixelflow.imaging.blurring import blur
from pixelflow.imaging.channels import values_of
from pixelflow.imaging.colors import rgba
from pixelflow.imaging.context import Context
from pixelflow.imaging.geometry import Size, largest_of_ratio, place
from pixelflow.imaging.gravity import Gravity
from pixelflow.imaging.operations.pad.geometry import Padded, padded
from pixelflow.imaging.operations.pad.model import Extend, Pad
from pixelflow.imaging.picture import Picture

_SIGMA = 0.03
"""Standard deviation of the blur, as a share of the canvas' shorter side: no detail competes with the image."""


def apply(picture: Picture, step: Pad, _context: Context) -> Picture:
    """Pad the picture."""
    picture = picture.aligned().to_output_colorspace()
    space = padded(picture.size, step)
    if space.canvas == picture.size:
        return picture
    if step.extend is Extend.COLOR:
        return picture.with_size(_colored(picture, space, step.background), space.canvas)
    picture = picture.materialized()
    left, top, frame = _reduced(picture, space)
    if step.extend is Extend.BLUR:
        return picture.with_size(_blurred(picture, frame).insert(picture.image, left, top), space.canvas)
    return picture.with_size(picture.image.embed(left, top, *frame, extend=step.extend.value), space.canvas)


def _colored(picture: Picture, space: Padded, background: str) -> pyvips.Image:
    left, top, frame = _reduced(picture, space)
    color = rgba(background)
    image = picture.image if color.opaque else with_alpha(picture.image)
    return image.embed(left, top, *frame, extend="background", background=values_of(color, image))


def _blurred(picture: Picture, frame: Size) -> pyvips.Image:
    """Fill the frame with the middle of the picture, blurred."""
    image = picture.image
    middle = largest_of_ratio(Fraction(frame.width, frame.height), Size(image.width, image.height))
    part = image.crop(*place(Gravity.CENTER, Size(image.width, image.height), middle), *middle)
    return blur(picture.with_size(part, middle).scaled(frame, linear=False).image.copy_memory(), _SIGMA * frame.shorter)


def _reduced(picture: Picture, space: Padded) -> tuple[int, int, Size]:
    """Convert the space to the scale of the picture, which may be reduced and keeps its exact size."""
    image = picture.image
    across, down = image.width / picture.size.width, image.height / picture.size.height
    left, top = round(space.left * across), round(space.top * down)
    right = round((space.canvas.width - space.left - picture.size.width) * across)
    bottom = round((space.canvas.height - space.top - picture.size.height) * down)
    return left, top, Size(left + image.width + right, top + image.height + bottom)
