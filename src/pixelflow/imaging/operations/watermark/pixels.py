"""Watermark: a text or a picture over a picture. It must never extend beyond the picture."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.context import Context
from pixelflow.imaging.geometry import Size, length, place
from pixelflow.imaging.layers import draw, in_space_of, layer_of, rotated, tiled
from pixelflow.imaging.operations.watermark.decoration import decorated
from pixelflow.imaging.operations.watermark.model import Mark, Watermark
from pixelflow.imaging.operations.watermark.style import Style, pads_of, style_of
from pixelflow.imaging.operations.watermark.text import rasterize
from pixelflow.imaging.picture import Picture
from pixelflow.imaging.placement import drawn_size, margin_of, rotated_size, within

_IMAGE_WIDTH = "20%"
_SAMPLE_SIZE = 16.0
"""Font size in pixels for measuring a text: precise enough, and 256 of the widest glyphs stay below `_MAX_SIDE`."""
_MAX_SIDE = 30_000
"""Maximum side of a text in pixels: cairo draws nothing beyond 32,767."""


def apply(picture: Picture, step: Watermark, context: Context) -> Picture:
    """Draw the mark over the picture; one that is too large for the picture is reduced until it fits."""
    picture, mark = picture.to_output_colorspace(), step.watermark
    if mark.image is not None and mark.image.step == step.from_:
        picture = picture.materialized()  # it is read twice
    canvas, margin = picture.size, margin_of(mark.margin, picture.size)
    limit = canvas if mark.tile else within(canvas, margin)
    if mark.image is None:
        layer = in_space_of(picture, _text(mark, canvas, limit))
    else:
        layer = _image(mark, picture, context, limit)
    if mark.tile:
        gap = round(length(mark.margin, canvas.shorter))
        return picture.with_image(draw(picture.image, tiled(layer, gap, canvas), 0, 0))
    left, top = place(mark.gravity, canvas, Size(layer.width, layer.height), margin)
    return picture.with_image(draw(picture.image, layer, left, top))


def _image(mark: Mark, picture: Picture, context: Context, limit: Size) -> pyvips.Image:
    assert mark.image is not None  # noqa: S101 - the caller looked
    other = context.referenced(mark.image, picture)
    width = _IMAGE_WIDTH if mark.width is None and mark.height is None else mark.width
    size = drawn_size(other.size, picture.size, width, mark.height, rotation=mark.rotation, limit=limit)
    return layer_of(other, size, rotation=mark.rotation, opacity=mark.opacity)


def _text(mark: Mark, canvas: Size, limit: Size) -> pyvips.Image:
    limit = Size(min(limit.width, _MAX_SIDE), min(limit.height, _MAX_SIDE))
    em = length(mark.size, canvas.shorter)
    style = style_of(mark, em, canvas)
    layer = rotated(decorated(mark, style, _fitting(mark, style, em, limit)), mark.rotation)
    return _shrunk_to_fit(layer.copy_memory(), limit)


def _fitting(mark: Mark, style: Style, em: float, limit: Size) -> float:
    """Return the font size at which the text fits, at most ``em``."""
    sample, pads = rasterize(mark, _SAMPLE_SIZE, style.wrap), pads_of(mark, style, _SAMPLE_SIZE)
    width, height = sample.width + pads.left + pads.right, sample.height + pads.top + pads.bottom
    box = rotated_size(width, height, mark.rotation)
    return max(1.0, min(em, _SAMPLE_SIZE * limit.width / box[0], _SAMPLE_SIZE * limit.height / box[1]))


def _shrunk_to_fit(layer: pyvips.Image, limit: Size) -> pyvips.Image:
    """Shrink the raster if rounding, or a font size below one pixel, made it exceed ``limit``."""
    scale = min(limit.width / layer.width, limit.height / layer.height)
    if scale >= 1:
        return layer
    size = Size(max(1, int(layer.width * scale)), max(1, int(layer.height * scale)))
    return Picture(layer, Size(layer.width, layer.height)).scaled(size, linear=False).image
