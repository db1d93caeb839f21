"""Scales pixels to an exact size, so that nothing moves and no line at an edge is lost (`sampling`)."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.geometry import Size
from pixelflow.imaging.sampling import axis
from pixelflow.imaging.thumbnails import Extent, fits, resample_small

LANCZOS = "lanczos3"


def resample(image: pyvips.Image, extent: Extent, size: Size, kernel: str = LANCZOS) -> pyvips.Image:
    """Scale what ``extent`` covers to ``size``. Alpha must be premultiplied."""
    if kernel != LANCZOS:  # the reader of a kernel expects that kernel alone
        return image.resize(size.width / image.width, vscale=size.height / image.height, kernel=kernel)
    if fits(image, extent, size):
        return resample_small(image, extent, size)
    across, down = axis(extent[0], size.width), axis(extent[1], size.height)
    # libvips averages by the same boxes as planned, but first down and then across, which costs less.
    completed = extended(image, across.length, down.length)
    whole = completed.resize(across.scale, vscale=down.scale, gap=min(across.gap, down.gap))
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
