"""Size and position of an overlay."""

from __future__ import annotations

from pixelflow.imaging.fields import MAX_DIMENSION
from pixelflow.imaging.geometry import Size, length, place
from pixelflow.imaging.operations.overlay.model import Overlay
from pixelflow.imaging.placement import drawn_size, margin_of, within

_LAYER_BYTES = 6
"""Per pixel: the layer in memory, and part of it on its way there."""
_TILE_BYTES = 16


def scaled_size(original: Size, canvas: Size, step: Overlay) -> Size:
    """Return the size at which a picture of the size ``original`` is drawn, before rotation."""
    if step.overflow and not step.tile:
        limit = Size(MAX_DIMENSION, MAX_DIMENSION)
    else:
        limit = canvas if step.tile or step.x is not None or step.y is not None else _free(canvas, step)
    return drawn_size(original, canvas, step.width, step.height, rotation=step.rotation, limit=limit)


def position(layer: Size, canvas: Size, step: Overlay) -> tuple[int, int]:
    """Return left and top of the layer, which is rotated already."""
    gravity = place(step.gravity, canvas, layer, margin_of(step.margin, canvas))
    left, top = (
        by_gravity if wanted is None else round(length(wanted, side))
        for wanted, by_gravity, side in zip((step.x, step.y), gravity, canvas, strict=True)
    )
    if step.overflow:
        return left, top
    return min(left, max(0, canvas.width - layer.width)), min(top, max(0, canvas.height - layer.height))


def memory(size: Size, step: Overlay) -> int:
    """Return the bytes of the layer, at most those of the whole image."""
    if step.tile:
        return size.pixels * _TILE_BYTES
    sides = (
        min(side, length(wanted, side)) if wanted is not None else side
        for wanted, side in zip((step.width, step.height), size, strict=True)
    )
    width, height = sides if step.rotation % 90 == 0 else size
    return int(width * height * _LAYER_BYTES)


def _free(canvas: Size, step: Overlay) -> Size:
    return within(canvas, margin_of(step.margin, canvas))
