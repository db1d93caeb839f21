"""Gaussian blur at a cost that does not grow with its strength."""

from __future__ import annotations

from math import sqrt

import pyvips

from pixelflow.imaging.alpha import with_premultiplied_alpha
from pixelflow.imaging.geometry import blur_reduction

_BOX_VARIANCE, _TENT_VARIANCE = 1 / 12, 1 / 6
"""Variance that averaging by squares and bilinear enlarging add, in squared pixels of the reduced image."""
_MIN_AMPLITUDE = 0.01
"""Weight at which the kernel of the blur ends, relative to its middle."""


def blur(image: pyvips.Image, sigma: float) -> pyvips.Image:
    """Blur an 8-bit image with a standard deviation of ``sigma`` pixels; transparent pixels don't color others."""
    return with_premultiplied_alpha(image, lambda premultiplied: blur_channels(premultiplied, sigma))


def blur_channels(image: pyvips.Image, sigma: float) -> pyvips.Image:
    """Blur each channel on its own. Reads the image before it returns if ``sigma`` is over `geometry.FULL_SIGMA`."""
    factor = min(blur_reduction(sigma), max(image.width, image.height))
    if factor == 1:
        return _gaussian(image, sigma)
    across, down = -(-image.width // factor), -(-image.height // factor)
    whole = image.embed(0, 0, across * factor, down * factor, extend="copy")
    reduced = whole.shrink(factor, factor).cast("float")
    blurred = _gaussian(reduced, sqrt((sigma / factor) ** 2 - _BOX_VARIANCE - _TENT_VARIANCE)).copy_memory()
    return _enlarged(blurred, factor, (image.width, image.height))


def _enlarged(image: pyvips.Image, factor: int, size: tuple[int, int]) -> pyvips.Image:
    """Interpolate between pixels that are the means of squares: each stands for the middle of its square."""
    middle = (factor - 1) / 2
    return image.affine(
        [factor, 0, 0, factor],
        interpolate=pyvips.Interpolate.new("bilinear"),
        odx=middle,
        ody=middle,
        oarea=[0, 0, *size],
        extend="copy",
    )


def _gaussian(image: pyvips.Image, sigma: float) -> pyvips.Image:
    return image.gaussblur(sigma, precision="float", min_ampl=_MIN_AMPLITUDE)
