"""Squares of one color each, the mean of what they cover."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.alpha import with_premultiplied_alpha


def mosaic(image: pyvips.Image, side: int) -> pyvips.Image:
    """Replace squares of ``side`` pixels by their mean color, from the top left corner on.

    Squares that the right and bottom edges cut are filled up with the pixels at the edge.
    """
    side = min(side, max(image.width, image.height))
    if side == 1:
        return image
    across, down = -(-image.width // side), -(-image.height // side)
    whole = image.embed(0, 0, across * side, down * side, extend="copy")
    cells = with_premultiplied_alpha(whole, lambda premultiplied: premultiplied.shrink(side, side))
    # The cells are few: in memory, no row of the image is computed twice.
    return cells.copy_memory().zoom(side, side).crop(0, 0, image.width, image.height)
