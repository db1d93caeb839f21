"""Resizing: scale, then cut or pad to the box.

It must never make a picture larger than the limits allow, not even on the way.
"""

from __future__ import annotations

import pyvips

from pixelflow.contracts.errors import OutputTooLargeError
from pixelflow.contracts.gravity import Gravity
from pixelflow.contracts.pipeline import Resize
from pixelflow.dataplane.imaging.colors import rgba
from pixelflow.dataplane.imaging.geometry import Size, fit, place
from pixelflow.dataplane.imaging.picture import Picture


def resize(picture: Picture, step: Resize, max_pixels: int) -> Picture:
    """What the step makes of the picture.

    Raises:
        OutputTooLargeError: the picture would have more than ``max_pixels`` pixels.
    """
    scaled, canvas = fit(picture.size, step)
    for size in (scaled, canvas):
        if size.pixels > max_pixels:
            raise OutputTooLargeError(
                f"{size.width} × {size.height} pixels; {max_pixels} pixels are allowed", step_id=step.id
            )
    result = picture.scaled(scaled, linear=step.linear).settled()
    if canvas == scaled:
        return result
    fits_within = canvas.width >= scaled.width and canvas.height >= scaled.height
    return _padded(result, canvas, step) if fits_within else _cut(result, canvas, step.gravity)


def reduction(size: Size, step: Resize) -> float:
    """How many times smaller the step makes a picture of this size, along the side that shrinks least."""
    if step.linear:
        return 1  # decoders shrink in stored values, not in linear light
    scaled, _ = fit(size, step)
    return min(size.width / scaled.width, size.height / scaled.height)


def _cut(picture: Picture, canvas: Size, gravity: object) -> Picture:
    # In memory, so that damage in the part that is cut off is found as well, and `smartcrop` may look twice.
    image = picture.held().image
    if isinstance(gravity, Gravity):
        return Picture(image.crop(*place(gravity, picture.size, canvas), *canvas), canvas)
    return Picture(image.smartcrop(*canvas, interesting=str(gravity)), canvas)


def _padded(picture: Picture, canvas: Size, step: Resize) -> Picture:
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
