"""Maps the luminance of each pixel to a color."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.alpha import rounded
from pixelflow.imaging.channels import luminance, on_colors
from pixelflow.imaging.colors import rgba
from pixelflow.imaging.colour import convert
from pixelflow.imaging.colour.tables import unit
from pixelflow.imaging.context import Context
from pixelflow.imaging.operations.tint.model import Tint
from pixelflow.imaging.picture import Picture

_MIDDLE, _WHITE = 128, 255


def apply(picture: Picture, step: Tint, _context: Context) -> Picture:
    """Tint the picture."""
    picture = picture.to_output_colorspace()
    return picture.with_image(on_colors(picture.image, lambda colors: _tint(colors, step)))


def _tint(colors: pyvips.Image, step: Tint) -> pyvips.Image:
    tinted = luminance(colors).maplut(_scale(step, colors)).copy(interpretation=colors.interpretation)
    if step.amount == 1:
        return tinted
    return rounded(tinted * step.amount + colors * (1 - step.amount), colors.format)


def _scale(step: Tint, image: pyvips.Image) -> pyvips.Image:
    """Return the color of each level, linear between the colors of the step, in the color space of the image."""
    shadows, highlights = (
        convert.values_of(rgba(color).rgb, image) for color in (step.shadows or "#000000", step.highlights or "#ffffff")
    )
    level, scale = pyvips.Image.identity(ushort=image.format == "ushort"), unit(image)
    middle, white = _MIDDLE * scale, _WHITE * scale
    if step.midtones is None:
        return rounded(_between(level, shadows, highlights, 0, white), image.format)
    midtones = convert.values_of(rgba(step.midtones).rgb, image)
    dark, light = (
        _between(level, shadows, midtones, 0, middle),
        _between(level, midtones, highlights, middle, white),
    )
    return rounded((level < middle).ifthenelse(dark, light), image.format)


def _between(level: pyvips.Image, first: tuple[int, ...], last: tuple[int, ...], start: int, end: int) -> pyvips.Image:
    slopes = [(b - a) / (end - start) for a, b in zip(first, last, strict=True)]
    return level.linear(slopes, [a - slope * start for a, slope in zip(first, slopes, strict=True)])
