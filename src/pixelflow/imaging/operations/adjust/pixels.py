"""Changes tones by a table and colors by a matrix, as the filter functions of CSS do.

The matrices are those of W3C Filter Effects Module Level 1, feColorMatrix ``saturate`` and ``hueRotate``.
"""

from __future__ import annotations

from math import cos, radians, sin

import pyvips

from pixelflow.imaging.alpha import rounded
from pixelflow.imaging.channels import on_colors
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
    level = pyvips.Image.identity()
    slope = step.brightness * step.contrast
    toned = level.linear(slope, _WHITE / 2 * (1 - step.contrast))
    curve = ((toned < 0).ifthenelse(0, (toned > _WHITE).ifthenelse(_WHITE, toned)) / _WHITE) ** (1 / step.gamma)
    colors = (
        colors.maplut(rounded(curve * _WHITE, "uchar")) if (slope, step.contrast, step.gamma) != (1, 1, 1) else colors
    )
    if step.saturation == 1 and step.hue % 360 == 0:
        return colors
    matrix = _product(_hue(step.hue), _saturation(step.saturation))
    return rounded(colors.recomb(pyvips.Image.new_from_array(matrix)), "uchar").copy(interpretation="srgb")


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
