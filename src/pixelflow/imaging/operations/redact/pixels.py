"""Makes regions unrecognizable. Of the pixels of a region, the result may depend on nothing but rounded means.

Metadata is removed, except the color profile: a thumbnail or a gain map in it would show what the step removed.
"""

from __future__ import annotations

import pyvips

from pixelflow.imaging.alpha import with_premultiplied_alpha
from pixelflow.imaging.blurring import enlarged
from pixelflow.imaging.channels import values_of
from pixelflow.imaging.colors import rgba
from pixelflow.imaging.colour.convert import PROFILE, like, to_8_bits
from pixelflow.imaging.context import Context
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.operations.redact.geometry import PixelBox, box_of, cell_of
from pixelflow.imaging.operations.redact.model import Method, Redact
from pixelflow.imaging.picture import Picture

_LEVELS = 16
"""Levels of a channel that remain: 8-bit means of text differ by the letters in it."""
_STEP = 255 / (_LEVELS - 1)


def apply(picture: Picture, step: Redact, _context: Context) -> Picture:
    """Redact the regions."""
    # In memory: later regions overlap earlier ones, and means are of pixels that rows far below belong to.
    picture = picture.to_output_colorspace().materialized()
    image = _without_metadata(picture.image)
    for region in step.regions:
        box = box_of(region, picture.size)
        if box is not None:
            covering = like(_covering(to_8_bits(picture.image.crop(*box)), box, step), image)
            image = image.insert(covering, box.left, box.top)
    return picture.with_image(image)


def _covering(region: pyvips.Image, box: PixelBox, step: Redact) -> pyvips.Image:
    if step.method is Method.SOLID:
        return region.new_from_image(values_of(rgba(step.fill), region)).cast("uchar").copy(interpretation="srgb")
    cell = cell_of(box)
    cells = _rounded_means(region, cell)
    if step.method is Method.PIXELS:
        return cells.zoom(*cell).crop(0, 0, box.width, box.height)
    return with_premultiplied_alpha(cells, lambda each: enlarged(each, cell, Size(box.width, box.height)))


def _rounded_means(region: pyvips.Image, cell: Size) -> pyvips.Image:
    across, down = -(-region.width // cell.width), -(-region.height // cell.height)
    whole = region.embed(0, 0, across * cell.width, down * cell.height, extend="copy")
    means = with_premultiplied_alpha(whole, lambda each: each.shrink(*cell))
    levels = (pyvips.Image.identity() / _STEP).rint() * _STEP
    return means.maplut(levels.cast("uchar")).copy(interpretation="srgb").copy_memory()


def _without_metadata(image: pyvips.Image) -> pyvips.Image:
    image = image.copy()
    for name in set(image.get_fields()) - {PROFILE}:
        image.remove(name)  # the properties of the image itself, such as its width, stay
    return image
