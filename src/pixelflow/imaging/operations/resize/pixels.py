"""Scales, then crops or pads to the box. No result, including intermediate ones, may exceed the pixel limit."""

from __future__ import annotations

from pixelflow.imaging.alpha import with_alpha
from pixelflow.imaging.channels import values_of
from pixelflow.imaging.colors import rgba
from pixelflow.imaging.context import Context
from pixelflow.imaging.cropping import CropPlace, by_content, corner_at, find_place
from pixelflow.imaging.geometry import Size, place
from pixelflow.imaging.gravity import Fit, Gravity
from pixelflow.imaging.operations.resize.geometry import finds_faces, fit
from pixelflow.imaging.operations.resize.model import Resize
from pixelflow.imaging.picture import Picture


def decide(picture: Picture, step: Resize) -> CropPlace | None:
    """Return where `cover` crops all frames of an animation."""
    scaled, canvas = fit(picture.size, step)
    if step.fit is not Fit.COVER or scaled == canvas or not by_content(step.gravity, step.focus):
        return None
    return find_place(_scaled(picture, scaled, step).materialized().image, canvas, step, picture)


def apply(picture: Picture, step: Resize, context: Context) -> Picture:
    """Resize the picture."""
    scaled, canvas = fit(picture.size, step)
    if finds_faces(picture.size, step) and context.decision is None:
        picture = picture.rereadable()  # faces that are large enough here may be too small in the result
    result = _scaled(picture, scaled, step)
    if canvas == scaled:
        return result
    if step.fit is Fit.CONTAIN:
        return _pad(result, canvas, step)
    image = result.image
    if context.decision is None:  # in memory, so that damage outside the crop is detected too, and to be read twice
        image = result.materialized().image
    left, top = corner_at(context.decision or find_place(image, canvas, step, picture), step, context)
    return picture.with_size(image.crop(left, top, *canvas), canvas)


def _scaled(picture: Picture, size: Size, step: Resize) -> Picture:
    return picture.scaled(size, linear=step.linear, kernel=step.kernel.value).to_output_colorspace(gray=True)


def _pad(picture: Picture, canvas: Size, step: Resize) -> Picture:
    gravity = step.gravity if isinstance(step.gravity, Gravity) else Gravity.CENTER
    background = rgba(step.background)
    image = picture.image if len(set(background.rgb)) == 1 else picture.to_output_colorspace().image
    image = image if background.opaque else with_alpha(image)
    left, top = place(gravity, canvas, picture.size)
    return picture.with_size(
        image.embed(left, top, *canvas, extend="background", background=values_of(background, image)), canvas
    )
