"""Cuts a part out of a picture. Works at any scale, and on pictures that are stored turned."""

from __future__ import annotations

from pixelflow.imaging.context import Context
from pixelflow.imaging.cropping import Corner, CropPlace, by_content, corner_at, cut, find_place, reduced
from pixelflow.imaging.geometry import Size, place, place_at
from pixelflow.imaging.gravity import Gravity
from pixelflow.imaging.operations.crop.geometry import corner, part
from pixelflow.imaging.operations.crop.model import Crop
from pixelflow.imaging.picture import Picture


def decide(picture: Picture, step: Crop) -> CropPlace | None:
    """Return where all frames of an animation are cropped, in pixels of the frames."""
    if not by_content(step.gravity, step.focus):
        return None
    return _by_content(picture.to_output_colorspace(gray=True).materialized(), part(picture.size, step), step)


def apply(picture: Picture, step: Crop, context: Context) -> Picture:
    """Return the part of the picture."""
    size = part(picture.size, step)
    if size == picture.size:
        return picture.to_output_colorspace(gray=True)
    if by_content(step.gravity, step.focus):
        whole = picture.to_output_colorspace(gray=True)
        if context.decision is None:
            whole = whole.materialized()
        left, top = corner_at(context.decision or _by_content(whole, size, step), step, context)
        return picture.with_size(whole.image.crop(left, top, *reduced(whole, size)), size)
    return cut(picture, _corner(picture.size, size, step), size).to_output_colorspace(gray=True)


def _corner(picture: Size, size: Size, step: Crop) -> Corner:
    if step.focus is not None:
        return place_at(step.focus, picture, size)
    gravity = step.gravity if isinstance(step.gravity, Gravity) else Gravity.CENTER
    return corner(picture, step) or place(gravity, picture, size)


def _by_content(picture: Picture, size: Size, step: Crop) -> CropPlace:
    return find_place(picture.image, reduced(picture, size), step, picture)
