"""Watermarks: a text drawn over a picture, readable on light and on dark. It must never reach beyond the picture."""

from __future__ import annotations

import pyvips

from pixelflow.contracts.pipeline import Watermark, WatermarkText
from pixelflow.dataplane.imaging.colors import rgba
from pixelflow.dataplane.imaging.geometry import Size, length, place
from pixelflow.dataplane.imaging.picture import Picture
from pixelflow.dataplane.imaging.text import Letters, letters

_OUTLINE_OPACITY = 0.9
"""Of the outline, as a share of the letters' own: enough to read on a like-toned picture, less than the text itself."""
_LARGEST_MARGIN = 0.25
"""Share of the shorter side; more would leave no room for the text."""
_TILE_MIN = 256
"""Least side in pixels of the pattern that is repeated: many small pieces cost more than few large ones."""


def watermark(picture: Picture, step: Watermark, _max_pixels: int) -> Picture:
    """The picture with the text over it; a text too large for the picture is made smaller until it fits."""
    picture, mark = picture.settled(), step.watermark
    margin = round(length(mark.margin, picture.size.shorter))
    em = length(mark.size, picture.size.shorter)
    if mark.tile:
        overlay = _overlay(letters(mark, em, picture.size), mark)
        return _over(picture, _tiled(overlay, margin, picture.size), 0, 0)
    margin = min(margin, int(picture.size.shorter * _LARGEST_MARGIN))
    room = Size(picture.size.width - 2 * margin, picture.size.height - 2 * margin)
    drawn = letters(mark, em, room)
    return _over(picture, _overlay(drawn, mark), *place(mark.gravity, picture.size, drawn.size, margin))


def _overlay(drawn: Letters, mark: WatermarkText) -> pyvips.Image:
    """Letters over their outline, in colour, as see-through as the step wants."""
    color = rgba(mark.color)
    outline = (0, 0, 0) if color.light else (255, 255, 255)
    face = _layer(drawn.face, color.rgb)
    layers = _layer((drawn.outline * _OUTLINE_OPACITY).cast("uchar"), outline).composite2(face, "over")
    opacity = mark.opacity * color.alpha / 255
    return (layers * [1, 1, 1, opacity]).cast("uchar").copy(interpretation="srgb").copy_memory()


def _layer(mask: pyvips.Image, rgb: tuple[int, ...]) -> pyvips.Image:
    return mask.new_from_image([*rgb]).bandjoin(mask).copy(interpretation="srgb")


def _tiled(overlay: pyvips.Image, gap: int, size: Size) -> pyvips.Image:
    """The overlay repeated over ``size``, every other row shifted by half.

    What is kept in memory is no larger than the picture, whatever the gap.
    """
    gap = min(gap, max(size))  # a wider one would show no more of the second text
    row = overlay.embed(0, 0, overlay.width + gap, overlay.height + gap)
    cell = row.join(row.wrap(x=row.width // 2, y=0), "vertical")
    cell = cell.replicate(-(-_TILE_MIN // cell.width), -(-_TILE_MIN // cell.height))
    cell = cell.crop(0, 0, min(cell.width, size.width), min(cell.height, size.height)).copy_memory()
    return cell.replicate(-(-size.width // cell.width), -(-size.height // cell.height)).crop(0, 0, *size)


def _over(picture: Picture, overlay: pyvips.Image, left: int, top: int) -> Picture:
    image = picture.image
    # Only what lies under the overlay is computed; the rest is passed on as it is.
    under = image.crop(left, top, overlay.width, overlay.height)
    blended = under.composite2(overlay, "over").cast("uchar")
    blended = blended if image.hasalpha() else blended[0:3]
    return Picture(image.insert(blended, left, top), picture.size)
