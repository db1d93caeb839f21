"""Watermark: text over a picture, readable on light and dark. It must never extend beyond the picture."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.alpha import blended
from pixelflow.imaging.colors import rgba
from pixelflow.imaging.context import Context
from pixelflow.imaging.geometry import Size, length, place
from pixelflow.imaging.operations.watermark.model import Watermark, WatermarkText
from pixelflow.imaging.operations.watermark.text import TextMask, render_text
from pixelflow.imaging.picture import Picture

_OUTLINE_OPACITY = 0.9
"""Opacity of the outline relative to the text: readable on a picture of similar tone, weaker than the text itself."""
_MAX_MARGIN = 0.25
"""Maximum margin as a fraction of the shorter side, so that space for the text remains."""
_MIN_TILE = 256
"""Minimum side of the repeated pattern in pixels: many small tiles cost more than a few large ones."""


def apply(picture: Picture, step: Watermark, _context: Context) -> Picture:
    """Draw the text over the picture; a text too large for the picture is reduced until it fits."""
    picture, mark = picture.to_output_colorspace(), step.watermark
    margin = round(length(mark.margin, picture.size.shorter))
    em = length(mark.size, picture.size.shorter)
    if mark.tile:
        overlay = _overlay(render_text(mark, em, picture.size), mark)
        return _composite(picture, _tile(overlay, margin, picture.size), 0, 0)
    margin = min(margin, int(picture.size.shorter * _MAX_MARGIN))
    max_size = Size(picture.size.width - 2 * margin, picture.size.height - 2 * margin)
    mask = render_text(mark, em, max_size)
    return _composite(picture, _overlay(mask, mark), *place(mark.gravity, picture.size, mask.size, margin))


def _overlay(mask: TextMask, mark: WatermarkText) -> pyvips.Image:
    """Color the text and its outline, and apply the step's opacity."""
    color = rgba(mark.color)
    outline = (0, 0, 0) if color.light else (255, 255, 255)
    face = _layer(mask.face, color.rgb)
    layers = _layer((mask.outline * _OUTLINE_OPACITY).cast("uchar"), outline).composite2(face, "over")
    opacity = mark.opacity * color.alpha / 255
    return (layers * [1, 1, 1, opacity]).cast("uchar").copy(interpretation="srgb").copy_memory()


def _layer(mask: pyvips.Image, rgb: tuple[int, ...]) -> pyvips.Image:
    return mask.new_from_image([*rgb]).bandjoin(mask).copy(interpretation="srgb")


def _tile(overlay: pyvips.Image, gap: int, size: Size) -> pyvips.Image:
    """Repeat the overlay over ``size``, with every other row shifted by half.

    The pattern in memory is never larger than the picture, for any gap.
    """
    gap = min(gap, max(size))  # a wider gap would show no more of the second text
    row = overlay.embed(0, 0, overlay.width + gap, overlay.height + gap)
    cell = row.join(row.wrap(x=row.width // 2, y=0), "vertical")
    cell = cell.replicate(-(-_MIN_TILE // cell.width), -(-_MIN_TILE // cell.height))
    cell = cell.crop(0, 0, min(cell.width, size.width), min(cell.height, size.height)).copy_memory()
    return cell.replicate(-(-size.width // cell.width), -(-size.height // cell.height)).crop(0, 0, *size)


def _composite(picture: Picture, overlay: pyvips.Image, left: int, top: int) -> Picture:
    image = picture.image
    # Only the area under the overlay is blended; the rest is passed through unchanged.
    under = image.crop(left, top, overlay.width, overlay.height)
    result = blended(under, overlay)
    result = result if image.hasalpha() else result[0:3]
    return picture.with_size(image.insert(result, left, top), picture.size)
