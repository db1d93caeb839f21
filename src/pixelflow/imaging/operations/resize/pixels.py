"""Scales, then crops or pads to the box. No result, including intermediate ones, may exceed the pixel limit."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.colors import rgba
from pixelflow.imaging.context import Context
from pixelflow.imaging.geometry import Size, place
from pixelflow.imaging.gravity import Gravity
from pixelflow.imaging.operations.resize.geometry import fit
from pixelflow.imaging.operations.resize.model import Resize
from pixelflow.imaging.picture import Picture


def apply(picture: Picture, step: Resize, _context: Context) -> Picture:
    """Resize the picture."""
    scaled, canvas = fit(picture.size, step)
    result = picture.scaled(scaled, linear=step.linear).to_output_colorspace()
    if canvas == scaled:
        return result
    fits_within = canvas.width >= scaled.width and canvas.height >= scaled.height
    return _pad(result, canvas, step) if fits_within else _crop(result, canvas, step.gravity)


def _crop(picture: Picture, canvas: Size, gravity: object) -> Picture:
    # In memory, so that damage outside the crop is detected too, and `smartcrop` can read the pixels twice.
    image = picture.materialized().image
    if isinstance(gravity, Gravity):
        return Picture(image.crop(*place(gravity, picture.size, canvas), *canvas), canvas)
    return Picture(image.smartcrop(*canvas, interesting=str(gravity)), canvas)


def _pad(picture: Picture, canvas: Size, step: Resize) -> Picture:
    gravity = step.gravity if isinstance(step.gravity, Gravity) else Gravity.CENTER
    background, image = rgba(step.background), picture.image
    if background.opaque and not image.hasalpha():
        fill = [*background.rgb]
    else:
        fill, image = [*background.rgb, background.alpha], _with_alpha(image)
    left, top = place(gravity, canvas, picture.size)
    return Picture(image.embed(left, top, *canvas, extend="background", background=fill), canvas)


def _with_alpha(image: pyvips.Image) -> pyvips.Image:
    return image if image.hasalpha() else image.addalpha()
