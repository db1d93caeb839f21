"""Changes tones by a table and colors by a matrix, as the filter functions of CSS do.

The matrices are those of W3C Filter Effects Module Level 1, feColorMatrix ``saturate`` and ``hueRotate``.
"""

from __future__ import annotations

from math import cos, radians, sin

import pyvips

from pixelflow.imaging.alpha import rounded
from pixelflow.imaging.channels import on_colors
from pixelflow.imaging.colour.tables import unit
from pixelflow.imaging.context import Context
from pixelflow.imaging.operations.adjust.model import Adjust
from pixelflow.imaging.picture import Picture

_WHITE = 255
_LUMA = (0.213, 0.715, 0.072)
_SINE = ((-0.213, -0.715, 0.928), (0.143, 0.140, -0.283), (-0.787, 0.715, 0.072))
"""Part of the hue matrix that the sine of the angle multiplies."""
Matrix = list[list[float]]


def apply(picture: Picture, step: Adjust, _context: Context) -> Picture:
    """Adjust the picture."""
    picture = picture.to_output_colorspace()
    return picture.with_image(on_colors(picture.image, lambda colors: _adjust(colors, step)))


def _adjust(colors: pyvips.Image, step: Adjust) -> pyvips.Image:
    if (step.brightness * step.contrast, step.contrast, step.gamma) != (1, 1, 1):
        colors = colors.maplut(_tones(step, colors))
    if step.saturation == 1 and step.hue % 360 == 0:
        return colors
    matrix = _product(_hue(step.hue), _saturation(step.saturation))
    mixed = rounded(colors.recomb(pyvips.Image.new_from_array(matrix)), colors.format)
    return mixed.copy(interpretation=colors.interpretation)


def _tones(step: Adjust, colors: pyvips.Image) -> pyvips.Image:
    """Return the table of brightness, contrast and gamma for values like those of the colors."""
    white = _WHITE * unit(colors)
    level = pyvips.Image.identity(ushort=colors.format == "ushort")
    toned = level.linear(step.brightness * step.contrast, white / 2 * (1 - step.contrast))
    curve = ((toned < 0).ifthenelse(0, (toned > white).ifthenelse(white, toned)) / white) ** (1 / step.gamma)
    return rounded(curve * white, colors.format)


def _saturation(factor: float) -> Matrix:
    return [
        [luma + factor * ((row == column) - luma) for column, luma in enumerate(_LUMA)] for row in range(len(_LUMA))
    ]


def _hue(degrees: float) -> Matrix:
    cosine, sine = cos(radians(degrees)), sin(radians(degrees))
    return [
        [luma + cosine * ((row == column) - luma) + sine * _SINE[row][column] for column, luma in enumerate(_LUMA)]
        for row in range(len(_LUMA))
    ]


def _product(one: Matrix, other: Matrix) -> Matrix:
    return [
        [sum(a * b for a, b in zip(row, column, strict=True)) for column in zip(*other, strict=True)] for row in one
    ]
