"""Draws another picture over a picture."""

from __future__ import annotations

from pixelflow.imaging.context import Context
from pixelflow.imaging.geometry import Size, length
from pixelflow.imaging.layers import draw, layer_of, tiled
from pixelflow.imaging.operations.overlay.geometry import position, scaled_size
from pixelflow.imaging.operations.overlay.model import Overlay
from pixelflow.imaging.picture import Picture


def apply(picture: Picture, step: Overlay, context: Context) -> Picture:
    """Draw the overlay."""
    picture = picture.to_output_colorspace()
    if step.image.step == step.from_:
        picture = picture.materialized()  # it is read twice
    other, canvas = context.referenced(step.image, picture), picture.size
    layer = layer_of(other, scaled_size(other.size, canvas, step), rotation=step.rotation, opacity=step.opacity)
    if step.tile:
        layer, (left, top) = tiled(layer, round(length(step.margin, canvas.shorter)), canvas), (0, 0)
    else:
        left, top = position(Size(layer.width, layer.height), canvas, step)
    return picture.with_image(draw(picture.image, layer, left, top, step.blend))
