"""Maps the luminance of each pixel to a color."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.alpha import rounded
from pixelflow.imaging.channels import luminance, on_colors
from pixelflow.imaging.colors import rgba
from pixelflow.imaging.colour import convert
from pixelflow.imaging.context import Context
from pixelflow.imaging.operations.tint.model import Tint
from pixelflow.imaging.picture import Picture

_MIDDLE, _WHITE = 128, 255


def apply(picture: Picture, step: Tint, _context: Context) -> Picture:
    """Tint the picture."""
    picture = picture.to_output_colorspace()
    return picture.with_image(on_colors(picture.image, lambda colors: _tint(colors, step)))


def _tint(colors: pyvips.Image, step: Tint) -> pyvips.Image:
    tinted = luminance(colors).maplut(_scale(step, colors)).copy(interpretation="srgb")
    if step.amount == 1:
        return tinted
    return rounded(tinted * step.amount + colors * (1 - step.amount), "uchar")


def _scale(step: Tint, image: pyvips.Image) -> pyvips.Image:
    """Return a table of 256 colors, linear between the colors of the step, in the color space of the image."""
    shadows, highlights = (
        convert.values_of(rgba(color).rgb, image) for color in (step.shadows or "#000000", step.highlights or "#ffffff")
    )
    level = pyvips.Image.identity()
    if step.midtones is None:
        return rounded(_between(level, shadows, highlights, 0, _WHITE), "uchar")
    midtones = convert.values_of(rgba(step.midtones).rgb, image)
    dark, light = (
        _between(level, shadows, midtones, 0, _MIDDLE),
        _between(level, midtones, highlights, _MIDDLE, _WHITE),
    )
    return rounded((level < _MIDDLE).ifthenelse(dark, light), "uchar")


def _between(level: pyvips.Image, first: tuple[int, ...], last: tuple[int, ...], start: int, end: int) -> pyvips.Image:
    slopes = [(b - a) / (end - start) for a, b in zip(first, last, strict=True)]
    return level.linear(slopes, [a - slope * start for a, slope in zip(first, slopes, strict=True)])
