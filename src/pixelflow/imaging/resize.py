"""Resize: scale, then crop or pad to the box.

No result, including intermediate ones, may exceed the pixel limit.
"""

from __future__ import annotations

import pyvips

from pixelflow.errors import OutputTooLargeError
from pixelflow.imaging.colors import rgba
from pixelflow.imaging.geometry import Size, fit, place
from pixelflow.imaging.gravity import Gravity
from pixelflow.imaging.picture import Picture
from pixelflow.imaging.pipeline import Resize


def resize(picture: Picture, step: Resize, max_pixels: int) -> Picture:
    """Apply the step to the picture.

    Raises:
        OutputTooLargeError: the result, or the scaled picture before cropping, has more than ``max_pixels`` pixels.
    """
    scaled, canvas = fit(picture.size, step)
    for size in (scaled, canvas):
        if size.pixels > max_pixels:
            raise OutputTooLargeError(
                f"The step needs {size.width} × {size.height} pixels; the limit is {max_pixels} pixels", step_id=step.id
            )
    result = picture.scaled(scaled, linear=step.linear).to_output_colorspace()
    if canvas == scaled:
        return result
    fits_within = canvas.width >= scaled.width and canvas.height >= scaled.height
    return _pad(result, canvas, step) if fits_within else _crop(result, canvas, step.gravity)


def reduction(size: Size, step: Resize) -> float:
    """Return the factor by which the step reduces a picture of this size, along the side that shrinks least."""
    if step.linear:
        return 1  # decoders reduce in stored values, not in linear light
    scaled, _ = fit(size, step)
    return min(size.width / scaled.width, size.height / scaled.height)


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
