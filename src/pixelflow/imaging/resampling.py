"""Scales pixels to an exact size, so that nothing moves and no line at an edge is lost (`sampling`)."""

from __future__ import annotations

from collections.abc import Sequence

import pyvips

from pixelflow.imaging.alpha import rounded
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.sampling import Axis, Part, axis

LANCZOS = "lanczos3"

Extent = tuple[float, float]
"""Width and height that a picture covers, from the upper left corner of an image, in pixels of the image."""


def resample(image: pyvips.Image, extent: Extent, size: Size, kernel: str = LANCZOS) -> pyvips.Image:
    """Scale what ``extent`` covers to ``size``. Alpha must be premultiplied."""
    if kernel != LANCZOS:  # the reader of a kernel expects that kernel alone
        return image.resize(size.width / image.width, vscale=size.height / image.height, kernel=kernel)
    across, down = axis(extent[0], size.width), axis(extent[1], size.height)
    image = _averaged(image, across, down)
    parts = [(column, row) for column in across.parts for row in down.parts]
    if len(parts) > 1:
        image = image.copy_memory()  # small, and a stream can't be read twice
    made = [_scaled(image, column, row, (across.scale, down.scale)) for column, row in parts]
    whole = made[0] if len(made) == 1 else _mean(made, [column.weight * row.weight for column, row in parts])
    return whole if (whole.width, whole.height) == size else whole.crop(0, 0, *size)


def averaged(image: pyvips.Image, box: int) -> pyvips.Image:
    """Replace squares of ``box`` × ``box`` pixels by their mean; the last squares are completed by repetition."""
    completed = extended(image, -(-image.width // box) * box, -(-image.height // box) * box)
    return completed.shrink(box, box)


def extended(image: pyvips.Image, width: int, height: int) -> pyvips.Image:
    """Repeat the last column and row up to this size, or cut off what exceeds it."""
    if (width, height) == (image.width, image.height):
        return image
    return image.embed(0, 0, width, height, extend="copy")


def _averaged(image: pyvips.Image, across: Axis, down: Axis) -> pyvips.Image:
    image = extended(image, across.length, down.length)
    return image.shrink(across.box, down.box) if across.box > 1 or down.box > 1 else image


def _scaled(image: pyvips.Image, column: Part, row: Part, scales: tuple[float, float]) -> pyvips.Image:
    return extended(image, column.length, row.length).resize(scales[0], vscale=scales[1], gap=0)


def _mean(images: Sequence[pyvips.Image], weights: Sequence[float]) -> pyvips.Image:
    weighted = [image * weight for image, weight in zip(images, weights, strict=True)]
    return rounded(pyvips.Image.sum(weighted), images[0].format)
