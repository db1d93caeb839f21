"""Scales pixels to an exact size, so that nothing moves and no line at an edge is lost (`sampling`)."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.alpha import rounded
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.sampling import Axis, axis

LANCZOS = "lanczos3"

Extent = tuple[float, float]
"""Width and height that a picture covers, from the upper left corner of an image, in pixels of the image."""


def resample(image: pyvips.Image, extent: Extent, size: Size, kernel: str = LANCZOS) -> pyvips.Image:
    """Scale what ``extent`` covers to ``size``. Alpha must be premultiplied."""
    if kernel != LANCZOS:  # the reader of a kernel expects that kernel alone
        return image.resize(size.width / image.width, vscale=size.height / image.height, kernel=kernel)
    across, down = axis(extent[0], size.width), axis(extent[1], size.height)
    several = len(across.parts) * len(down.parts) > 1
    whole = _mean(image, across, down) if several else _scaled(image, across, down)
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


def _scaled(image: pyvips.Image, across: Axis, down: Axis) -> pyvips.Image:
    # libvips averages by the same boxes as planned, but first down and then across, which costs less.
    completed = extended(image, across.length, down.length)
    return completed.resize(across.scale, vscale=down.scale, gap=min(across.gap, down.gap))


def _mean(image: pyvips.Image, across: Axis, down: Axis) -> pyvips.Image:
    """Return the weighted mean of several results. The averaged input is small, and a stream can't be read twice."""
    boxed = extended(image, across.length, down.length).shrink(across.box, down.box).copy_memory()
    scale, vscale = across.scale * across.box, down.scale * down.box
    weighted = [
        extended(boxed, column.length, row.length).resize(scale, vscale=vscale, gap=0) * (column.weight * row.weight)
        for column in across.parts
        for row in down.parts
    ]
    return rounded(pyvips.Image.sum(weighted), image.format)
