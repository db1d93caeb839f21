"""Adds to each pixel how much its luma differs from its surroundings: an unsharp mask that leaves hues as they are."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.alpha import rounded
from pixelflow.imaging.blurring import blur_channels
from pixelflow.imaging.channels import join_alpha, split_alpha
from pixelflow.imaging.context import Context
from pixelflow.imaging.geometry import blur_reduction, length
from pixelflow.imaging.operations.sharpen.model import Sharpen
from pixelflow.imaging.picture import Picture

_LUMA = [[0.299, 0.587, 0.114]]
"""ITU-R BT.601."""


def apply(picture: Picture, step: Sharpen, _context: Context) -> Picture:
    """Sharpen the picture."""
    picture = picture.to_output_colorspace()
    sigma = length(step.sigma, picture.size.shorter)
    if blur_reduction(sigma) > 1:
        picture = picture.materialized()  # the blur reads it first
    return picture.with_image(_sharpen(picture.image, sigma, step.amount))


def _sharpen(image: pyvips.Image, sigma: float, amount: float) -> pyvips.Image:
    colors, alpha = split_alpha(image)
    luma = colors.recomb(pyvips.Image.new_from_array(_LUMA))
    if alpha is None:
        around = blur_channels(luma, sigma)
    else:  # the mean of what is visible
        weights = blur_channels(alpha.cast("float"), sigma)
        around = (weights == 0).ifthenelse(luma, blur_channels(luma * alpha, sigma) / weights)
    sharpened = rounded(colors + (luma - around) * amount, image.format)
    return join_alpha(sharpened.copy(interpretation=image.interpretation), alpha)
