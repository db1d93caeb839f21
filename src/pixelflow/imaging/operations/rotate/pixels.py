"""Turns a picture around its center. Works at any scale."""

from __future__ import annotations

import math

import pyvips

from pixelflow.imaging.alpha import with_alpha, with_premultiplied_alpha
from pixelflow.imaging.channels import values_of
from pixelflow.imaging.colors import rgba
from pixelflow.imaging.context import Context
from pixelflow.imaging.cropping import reduced
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.operations.rotate.geometry import canvas, quarter_turns
from pixelflow.imaging.operations.rotate.model import Canvas, Rotate
from pixelflow.imaging.picture import Picture

_QUARTERS = {1: "d90", 2: "d180", 3: "d270"}


def apply(picture: Picture, step: Rotate, _context: Context) -> Picture:
    """Turn the picture."""
    turns, size = quarter_turns(step), canvas(picture.size, step)
    picture = picture.aligned().to_output_colorspace(gray=turns is not None and step.canvas is not Canvas.KEEP)
    if turns == 0:
        return picture
    image = picture.materialized().image
    frame = reduced(picture, size)
    if turns is None:
        return picture.with_size(_turned(image, frame, step), size)
    image = image.rot(_QUARTERS[turns])
    return picture.with_size(_centered(image, frame, step) if step.canvas is Canvas.KEEP else image, size)


def _turned(image: pyvips.Image, frame: Size, step: Rotate) -> pyvips.Image:
    """Turn by any angle. What is translucent is computed with premultiplied alpha, the background too."""
    color, inner = rgba(step.background), step.canvas is Canvas.INNER
    if not color.opaque and not inner:
        image = with_alpha(image)
    fill = values_of(color, image)
    if image.hasalpha():
        fill = [*(channel * color.alpha / 255 for channel in fill[:-1]), fill[-1]]
    extend = "copy" if inner else "background"
    return with_premultiplied_alpha(image, lambda each: _affine(each, step.angle, frame, extend, fill))


def _affine(image: pyvips.Image, angle: float, frame: Size, extend: str, fill: list[float]) -> pyvips.Image:
    """Map the center of the image to the center of the frame; libvips counts from the centers of pixels."""
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    x, y = (image.width - 1) / 2, (image.height - 1) / 2
    return image.affine(
        [cosine, -sine, sine, cosine],
        interpolate=pyvips.Interpolate.new("bicubic"),
        oarea=[0, 0, *frame],
        odx=(frame.width - 1) / 2 - (cosine * x - sine * y),
        ody=(frame.height - 1) / 2 - (sine * x + cosine * y),
        extend=extend,
        background=fill,
        premultiplied=True,
    )


def _centered(image: pyvips.Image, frame: Size, step: Rotate) -> pyvips.Image:
    """Crop or pad to the frame."""
    color = rgba(step.background)
    image = image if color.opaque else with_alpha(image)
    left, top = (frame.width - image.width) // 2, (frame.height - image.height) // 2
    return image.embed(left, top, *frame, extend="background", background=values_of(color, image))
